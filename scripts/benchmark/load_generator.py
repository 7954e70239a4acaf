"""Runs perf_analyzer against one model of one server and reads what it measured."""

import csv
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.errors import Failed

WINDOWS = 3  # perf_analyzer averages its last three windows when it takes them to be stable
ALWAYS_STABLE_PERCENT = 999  # ... and here it always does: the spread is shown by rounds, not hidden by retries


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients saw in one run."""

    requests_per_s: float
    p50_us: float
    p99_us: float


@dataclass(frozen=True, slots=True)
class LoadGenerator:
    """perf_analyzer in synchronous mode: as many closed-loop clients as the concurrency says."""

    binary: Path

    def run(self, address: str, model: str, concurrency: int, window_s: float) -> Load:
        """Load `model` for three windows. Raises Failed with perf_analyzer's own words."""
        windows = ["--measurement-interval", str(round(window_s * 1000)), "--max-trials", str(WINDOWS)]
        stability = ["--stability-percentage", str(ALWAYS_STABLE_PERCENT)]
        return self._run(address, model, concurrency, [*windows, *stability], timeout_s=60 + 10 * window_s)

    def run_count(self, address: str, model: str, concurrency: int, requests: int) -> Load:
        """Send about `requests` requests and stop."""
        return self._run(address, model, concurrency, ["--request-count", str(requests)], timeout_s=600)

    def _run(self, address: str, model: str, concurrency: int, extra: list[str], timeout_s: float) -> Load:
        with TemporaryDirectory() as folder:
            table = Path(folder) / "latency.csv"
            command = [str(self.binary), "-i", "grpc", "-u", address, "-m", model, "-f", str(table)]
            command += ["--concurrency-range", str(concurrency), *extra]
            said = self._execute(command, folder, timeout_s)
            if not table.exists():
                raise Failed(f"perf_analyzer measured nothing on {model}: {said}", hint=" ".join(command))
            return _read(table)

    def _execute(self, command: list[str], folder: str, timeout_s: float) -> str:
        environment = {"LD_LIBRARY_PATH": str(self.binary.parent), "LC_ALL": "C"}
        try:
            result = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise Failed(f"perf_analyzer did not end within {timeout_s:.0f} s", hint=" ".join(command)) from error
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()
        if result.returncode != 0:
            raise Failed(f"perf_analyzer failed: {' | '.join(said[-3:])}", hint=" ".join(command))
        return said[-1] if said else "no output"


def _read(table: Path) -> Load:
    with table.open(newline="") as stream:
        row = next(iter(csv.DictReader(stream)))
    return Load(float(row["Inferences/Second"]), float(row["p50 latency"]), float(row["p99 latency"]))
