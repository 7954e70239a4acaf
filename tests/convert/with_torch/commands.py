"""The converter as its user meets it: the command, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 280


def convert(source: Path | str, out: Path, *options: str, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """Convert and return what --json says."""
    result = run("convert", str(source), "--out", str(out), "--json", *options, prefix=prefix)
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def run(*arguments: str, prefix: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    """Run `appliance`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("APPLIANCE_")}
    return subprocess.run(
        [*prefix, sys.executable, "-m", "appliance.cli.main", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
