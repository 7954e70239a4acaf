"""An executable `appliance` that answers what it is told to, for what the real one does only in great distress."""

import os
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """#!/bin/sh
printf '%s\\n' "$*" >>"{log}"
[ ! -e "{folder}/says-$2" ] || cat "{folder}/says-$2"
[ ! -e "{folder}/wait-$2" ] || {{ echo "working on it" >&2; exec sleep 60; }}
[ ! -e "{folder}/status-$2" ] || exit "$(cat "{folder}/status-$2")"
"""


@dataclass(frozen=True, slots=True)
class AnsweringProgram:
    """The program, what it answers to its second word (`update apply`), and what it was asked."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        program = self.folder / "appliance"
        program.write_text(_PROGRAM.format(log=self.folder / "log", folder=self.folder))
        program.chmod(0o755)

    def answer(self, word: str, status: int = 0, text: str = "", *, wait: bool = False) -> None:
        (self.folder / f"status-{word}").write_text(str(status))
        (self.folder / f"says-{word}").write_text(text)
        if wait:
            (self.folder / f"wait-{word}").touch()

    @property
    def asked(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder}:{os.environ['PATH']}", "TMPDIR": str(self.folder)}
