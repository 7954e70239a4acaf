"""The `appliance` command, as a person types it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from appliance.errors import Failed

TIMEOUT_S = 3600.0  # a build on a slow box takes its time


def ask_appliance(*words: str | Path, accept: tuple[int, ...] = (0,)) -> Any:
    """Run a command with --json and return its result. Raises Failed with its own words."""
    command = [sys.executable, "-m", "appliance.cli.main", *map(str, words), "--json"]
    shown = f"appliance {' '.join(map(str, words))}"
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"'{shown}' takes longer than {TIMEOUT_S:.0f} s") from error
    if child.returncode not in accept:
        lines = [line for line in child.stderr.splitlines() if line.strip()]
        wrong = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        words_said = wrong[-1] if wrong else " ".join(lines[-3:]) or "it said nothing"
        raise Failed(f"'{shown}' ended with exit status {child.returncode}: {words_said[:400]}")
    try:
        return json.loads(child.stdout)
    except ValueError as error:
        raise Failed(f"'{shown}' printed no JSON: {child.stdout[:100]!r}") from error
