"""Computing tiny requests where they arrive, without the way to a worker thread and back.

Waking a worker and being woken by it costs about 100 us of CPU (measured: two futex waits, a wake-up of the event
loop, and the interpreter lock changing hands twice), ten times what a tiny model computes. So a request goes straight
through when nothing waits, the batcher was not told to wait for others, the runtime allows calls from any thread, and
both the request and the recent computations are small enough not to hold up the event loop. Everything else queues.

Ownership: lives on the event loop.
"""

import time
from collections.abc import Mapping, Sequence

from appliance.backends.base import Array, ModelInstance
from appliance.serving.execution import check_rows
from appliance.serving.statistics import ModelStatistics

LONGEST_NS = 150_000  # slower models always go to a worker
LARGEST_BYTES = 65_536  # of input; a larger request may take longer than those measured
_PENALTY = 256  # requests that go to a worker after one computation was slow
_WEIGHT = 8  # the running mean follows 1/8 of each new value


class DirectPath:
    """Decides and computes; `instance` must allow calls from any thread."""

    def __init__(self, instance: ModelInstance, statistics: ModelStatistics, *, batched: bool) -> None:
        self._instance = instance
        self._statistics = statistics
        self._batched = batched
        self._mean_ns = 2 * LONGEST_NS  # unknown models begin at the workers
        self._penalty = 0

    def suits(self, inputs: Mapping[str, Array]) -> bool:
        """Say whether a request with these inputs may be computed on the event loop."""
        if self._penalty:
            self._penalty -= 1
            return False
        if self._mean_ns > LONGEST_NS:
            self._mean_ns = min(self._mean_ns, self._recent_ns())
            if self._mean_ns > LONGEST_NS:
                return False
        size = 0
        for array in inputs.values():
            size += array.nbytes
        return size <= LARGEST_BYTES

    def compute(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], rows: int, received_ns: int
    ) -> list[Array]:
        """Compute `outputs` of one request. Raises what the instance raises."""
        start_ns = time.monotonic_ns()
        arrays = self._instance.execute(inputs, outputs)
        end_ns = time.monotonic_ns()
        if self._batched:
            check_rows(arrays, outputs, rows)
        self._statistics.record_direct(received_ns, rows, start_ns, end_ns)
        took_ns = end_ns - start_ns
        self._mean_ns += (took_ns - self._mean_ns) // _WEIGHT
        if took_ns > 4 * LONGEST_NS:
            self._penalty = _PENALTY
        return arrays

    def close(self) -> None:
        """Give the instance back."""
        self._instance.close()

    def _recent_ns(self) -> int:
        """Mean computation of one row by the workers so far."""
        row = self._statistics.batches.get(1)
        if row is None or row.compute_infer.count < _WEIGHT:
            return 2 * LONGEST_NS
        return row.compute_infer.total_ns // row.compute_infer.count
