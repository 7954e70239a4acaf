"""How long runs take in ONNX Runtime on this machine's CPU, one thread, as on the box.

The files are measured in turn, several rounds each, so that a busy moment of the machine falls on all of them.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance.backends.onnxruntime import open_session
from appliance.convert.samples import Batch
from appliance.convert.variant import Latency

_ROUNDS = 5
_MIN_RUNS = 10  # in all rounds together
_MAX_RUNS = 1000


def measure_latencies(
    files: Sequence[Path], batches: Sequence[Batch], *, budget_s: float = 1.0
) -> list[list[Latency]]:
    """Measure every file at the first batch of each size, about budget_s for each of them; in the order of files."""
    sessions = [open_session(file) for file in files]
    found: list[list[Latency]] = [[] for _ in files]
    for batch in _one_of_each_size(batches):
        for latencies, durations_s in zip(found, _measure_in_turn(sessions, batch, budget_s), strict=True):
            latencies.append(Latency(batch.size, statistics.median(durations_s) * 1000, len(durations_s)))
    return found


def _one_of_each_size(batches: Sequence[Batch]) -> list[Batch]:
    first: dict[int, Batch] = {}
    for batch in batches:
        first.setdefault(batch.size, batch)
    return [first[size] for size in sorted(first)]


def _measure_in_turn(sessions: Sequence[Any], batch: Batch, budget_s: float) -> list[list[float]]:
    runs = []
    for session in sessions:
        _time_run(session, batch)  # warm-up: allocates memory and packs weights
        runs.append(_runs_per_round(_time_run(session, batch), budget_s))
    durations_s: list[list[float]] = [[] for _ in sessions]
    for _ in range(_ROUNDS):
        for session, count, collected in zip(sessions, runs, durations_s, strict=True):
            collected += [_time_run(session, batch) for _ in range(count)]
    return durations_s


def _runs_per_round(duration_s: float, budget_s: float) -> int:
    runs = budget_s / max(duration_s, 1e-6)
    return round(min(max(runs, _MIN_RUNS), _MAX_RUNS) / _ROUNDS)


def _time_run(session: Any, batch: Batch) -> float:
    started_s = time.perf_counter()
    session.run(None, batch.inputs)
    return time.perf_counter() - started_s
