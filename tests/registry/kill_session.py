"""A kill_driver that is running, and state directories to let it loose on."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass
class Driver:
    """Talks to one kill_driver."""

    process: "subprocess.Popen[str]"

    def perform(self, operation: str, state: Path, package: Path, at: int = 0) -> Any:
        """Returns 'killed', or the list of operations when it came through."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"operation": operation, "state": str(state), "package": str(package), "at": at}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@contextmanager
def started_driver(*tracer: str) -> Iterator[Driver]:
    command = [*tracer, sys.executable, "-m", "tests.registry.kill_driver"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Driver(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def copy_state(template: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    if template.exists():
        subprocess.run(["cp", "-a", template, target], check=True)  # keeps hard links
    return target
