"""The command line as a person or a script uses it: real processes, nothing faked."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.daemon import TRANSPORT_SETTING

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
PROGRAM = (sys.executable, "-m", "appliance.cli.main")
TIMEOUT_S = 60.0
WIDTH = 80
ANSI = re.compile(r"\x1b")


class Result:
    """How a command ended."""

    def __init__(self, process: "subprocess.CompletedProcess[str]") -> None:
        self.code = process.returncode
        self.out = process.stdout
        self.err = process.stderr
        assert "Traceback" not in self.err, self.err
        assert not ANSI.search(self.out + self.err)

    @property
    def json(self) -> Any:
        """The result, for programs."""
        return json.loads(self.out)

    @property
    def story(self) -> str:
        """Standard error without the line breaks that keep it within the width."""
        return " ".join(self.err.split())

    @property
    def widest(self) -> int:
        """Length of the longest line."""
        return max((len(line) for line in (self.out + self.err).splitlines()), default=0)


class Terminal:
    """Types commands for one state directory. `models`: what its daemon serves, if it serves a directory."""

    def __init__(self, state: Path, models: Path = MODELS) -> None:
        self.state = state
        self.models = models

    def appliance(self, *words: str | Path, environment: dict[str, str] | None = None, code: int = 0) -> Result:
        """Run a command on the state directory; it must end with `code`."""
        result = appliance(*words, "--state", self.state, environment=environment)
        assert result.code == code, result.out + result.err
        return result

    @contextmanager
    def daemon(self, *words: str | Path) -> "Iterator[subprocess.Popen[bytes]]":
        """`appliance serve`, from READY to the end of the block."""
        log = self.state / "daemon.log"
        command = [*PROGRAM, "serve", "--state", self.state, "--listen", "127.0.0.1:0", *words]
        with log.open("wb") as stream:
            process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stderr=stream)
        try:
            deadline_s = time.monotonic() + TIMEOUT_S
            while "READY: " not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline_s, log.read_text()
                time.sleep(0.02)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(TIMEOUT_S)
            finally:
                process.kill()


def appliance(*words: str | Path, environment: dict[str, str] | None = None) -> Result:
    """Run a command to its end, its output going to pipes."""
    return Result(
        subprocess.run(
            [*PROGRAM, *words],
            cwd=ROOT,
            env=clean_environment() | (environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    )


def clean_environment() -> dict[str, str]:
    """The environment without what would lead commands elsewhere, and with the width of a serial console."""
    foreign = ("APPLIANCE_", "OTEL_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(foreign) and not name.upper().endswith("_PROXY")
    }
    return kept | TRANSPORT_SETTING | {"COLUMNS": str(WIDTH)}
