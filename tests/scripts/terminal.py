"""A person at a serial console: starts a script with dash on a terminal, reads, answers."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
CONTROL_C, CONTROL_D = "\x03", "\x04"
_PATIENCE_S = 90.0

Answers = Sequence[tuple[str, str]]  # what is waited for, and what is typed then


@dataclass(frozen=True, slots=True)
class Session:
    """What was seen, and how it ended."""

    status: int
    text: str


def at_terminal(
    command: Sequence[str | Path], environment: Mapping[str, str], answers: Answers = (), *, cwd: Path | None = None
) -> Session:
    """Run a command on a terminal of its own. Raises AssertionError if it does not end or does not ask."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        ["setsid", "--ctty", *map(str, command)],
        stdin=its,
        stdout=its,
        stderr=its,
        env=dict(environment),
        cwd=cwd,
    ) as process:
        os.close(its)
        try:
            text = _talked(ours, list(answers))
            return Session(process.wait(_PATIENCE_S), text)
        finally:
            process.kill()
            os.close(ours)


def without_terminal(
    command: Sequence[str | Path], environment: Mapping[str, str], *, cwd: Path | None = None
) -> Session:
    """Run a command as another program would, with nothing to read."""
    done = subprocess.run(
        [*map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=cwd,
        timeout=_PATIENCE_S,
        check=False,
    )
    return Session(done.returncode, done.stdout.decode())


def _talked(terminal: int, answers: list[tuple[str, str]]) -> str:
    text, seen, deadline_s = "", 0, time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        if not select.select([terminal], [], [], 0.5)[0]:
            continue
        try:
            read = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            read = b""
        if not read:
            assert not answers, f"was never asked {answers[0][0]!r}:\n{text}"
            return text
        text += read.decode(errors="replace").replace("\r\n", "\n")
        if answers and answers[0][0] in text[seen:]:
            answer = answers.pop(0)[1]
            seen = len(text)
            os.write(terminal, answer.encode() if answer in (CONTROL_C, CONTROL_D) else f"{answer}\n".encode())
    raise AssertionError(f"does not end:\n{text}")
