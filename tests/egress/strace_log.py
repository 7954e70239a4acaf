"""What a traced process and its children started, connected to and opened for writing. Pure: text in, a value out."""

import os.path
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CALLS = "execve,execveat,connect,open,openat,openat2,creat"
# -D: strace stands aside, so that the process we started is the traced program itself and gets our signals.
STRACE = [
    "strace",
    "-D",
    "-f",
    "-y",
    "-qq",
    "--seccomp-bpf",
    "-e",
    f"trace={CALLS}",
    "-e",
    "signal=none",
    "-s",
    "4096",
]

_EXECUTED = re.compile(r'execve(?:at)?\((?:\S+, )?"([^"]*)"')
_CONNECTED = re.compile(r'connect\(.*(?:inet_addr\(|inet_pton\(AF_INET6, |sun_path=@?)"([^"]*)"')
_OPENED = re.compile(r'openat2?\((?:AT_FDCWD|\d+)<([^>]*)>, "([^"]*)", [^)]*?(?:O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE)')
_OPENED_BY_NAME = re.compile(r'(?:creat|open)\("([^"]*)", (?:0|[^)]*?(?:O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE))')


@dataclass(frozen=True, slots=True)
class Trace:
    """programs: attempts count too. peers: addresses and paths. written: absolute where strace knew the directory."""

    programs: frozenset[str]
    peers: frozenset[str]
    written: frozenset[str]


def read_trace(lines: Iterable[str]) -> Trace:
    """Sum up what `strace` with the options in STRACE wrote."""
    programs, peers, written = set(), set(), set()
    for line in lines:
        if found := _EXECUTED.search(line):
            programs.add(found[1])
        elif found := _CONNECTED.search(line):
            peers.add(found[1])
        elif found := _OPENED.search(line):
            written.add(os.path.normpath(Path(found[1], found[2])))
        elif found := _OPENED_BY_NAME.search(line):
            written.add(found[1])
    return Trace(frozenset(programs), frozenset(peers), frozenset(written))
