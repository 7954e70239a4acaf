"""Which hosts, and which words of telemetry, compiled code carries with it.

A finding is a host (after `https://`, or a bare name such as `metadata.google.internal`), or the whole word around
one of WORDS. Python's own files are not searched: what they may import is the business of `test_imports`.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ELF = b"\x7fELF"
LONGEST_NAME_BYTES = 120
WORDS = rb"events\.data|telemetry|collector"

_URL = rb"https?://(?P<host>[A-Za-z0-9._-]*)"
_DOMAIN = rb"\.(?:com|net|org|io|ai|co|dev|app|cloud|internal)(?![A-Za-z0-9_-])|169\.254\.169\.254"
_FINDING = re.compile(rb"%b|(?P<domain>%b)|(?P<word>(?i:%b))" % (_URL, _DOMAIN, WORDS))
_NAME_BEFORE = re.compile(rb"[A-Za-z0-9._-]*$")
_WORD_BEFORE = re.compile(rb"[A-Za-z0-9_./:-]*$")
_WORD_AFTER = re.compile(rb"[A-Za-z0-9_./:-]*")


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`text` in the compiled file `file` of an installed package."""

    package: str
    file: str
    text: str


def packages_of(name: str, extra: str) -> set[str]:
    """Return every installed package that `name[extra]` needs, itself included, as canonical names."""
    needed: set[tuple[str, str]] = set()
    open_ends = [(canonicalize_name(name), ""), (canonicalize_name(name), extra)]
    while open_ends:
        package, wanted = open_ends.pop()
        if (package, wanted) in needed:
            continue
        needed.add((package, wanted))
        for requirement in map(Requirement, metadata.requires(package) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                required = canonicalize_name(requirement.name)
                open_ends += [(required, each) for each in ("", *requirement.extras)]
    return {package for package, _ in needed}


def compiled_files(package: str) -> Iterator[Path]:
    """Yield the shared objects and executables that a package installed."""
    for file in metadata.files(package) or ():
        path = Path(str(file.locate()))
        if path.suffix not in {".py", ".pyc", ".pyi"} and path.is_file() and is_compiled(path):
            yield path


def is_compiled(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(ELF)) == ELF


def scan(path: Path) -> set[str]:
    """Return the texts found in one compiled file."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {_text(content, found) for found in _FINDING.finditer(content)}


def _text(content: mmap.mmap, found: re.Match[bytes]) -> str:
    before = content[max(0, found.start() - LONGEST_NAME_BYTES) : found.start()]
    after = content[found.end() : found.end() + LONGEST_NAME_BYTES]
    if found["word"]:
        text = _WORD_BEFORE.findall(before)[0] + found[0] + _WORD_AFTER.findall(after)[0]
    elif found["domain"]:
        text = _NAME_BEFORE.findall(before)[0] + found[0]
    else:
        text = found["host"] or found[0]
    return str(text, "ascii").strip(".")
