"""Computing tiny requests where they arrive, without the way to a worker thread and back.

Waking a worker and being woken by it costs about 100 us of CPU (measured: two futex waits, a wake-up of the event
loop, and the interpreter lock changing hands twice), ten times what a tiny model computes. So a request goes straight
through when nothing waits, the batcher was not told to wait for others, the runtime allows calls from any thread, and
requests of exactly this form (model, shapes, outputs) have just been computed quickly several times in a row.
Everything else queues.

"Quickly" is CPU time of the computing thread: on a busy machine the wall clock tells of everybody else's work.

Ownership: lives on the event loop.
"""

import time
from collections.abc import Mapping, Sequence

from appliance.backends.base import Array, ModelInstance
from appliance.serving.execution import check_rows
from appliance.serving.statistics import ModelStatistics

LONGEST_NS = 150_000  # what may hold up the event loop
LARGEST_BYTES = 65_536  # of input
_FIRST_TRUST = 8  # quick computations by a worker before the event loop may try
_MOST_TRUST = 1 << 20
_FAR_TOO_LONG = 4  # times LONGEST_NS; shorter excesses are cold caches


class DirectMeter:
    """How requests of one form have behaved. One slow computation sends the form back to the workers, and each time
    it has to be quick twice as often before it may return.
    """

    __slots__ = ("_needed", "_quick")

    def __init__(self) -> None:
        self._needed = _FIRST_TRUST
        self._quick = 0

    @property
    def trusted(self) -> bool:
        """Whether such a request may be computed on the event loop."""
        return self._quick >= self._needed

    def observe(self, took_ns: int, *, direct: bool = False) -> None:
        """Take note of one computation, in CPU time. `direct`: it was on the event loop."""
        if took_ns <= LONGEST_NS:
            self._quick += 1
        elif took_ns <= _FAR_TOO_LONG * LONGEST_NS:
            self._quick = min(self._quick, self._needed) - 1
        else:
            self._quick = 0
            if direct:
                self._needed = min(2 * self._needed, _MOST_TRUST)


class DirectPath:
    """Computes; `instance` must allow calls from any thread."""

    def __init__(self, instance: ModelInstance, statistics: ModelStatistics, *, batched: bool) -> None:
        self._instance = instance
        self._statistics = statistics
        self._batched = batched

    @staticmethod
    def suits(inputs: Mapping[str, Array], meter: DirectMeter) -> bool:
        """Say whether a request of this form may be computed on the event loop."""
        if not meter.trusted:
            return False
        size = 0
        for array in inputs.values():
            size += array.nbytes
        return size <= LARGEST_BYTES

    def compute(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], rows: int, received_ns: int, meter: DirectMeter
    ) -> list[Array]:
        """Compute `outputs` of one request. Raises what the instance raises."""
        start_ns, start_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        arrays = self._instance.execute(inputs, outputs)
        end_ns, end_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        if self._batched:
            check_rows(arrays, outputs, rows)
        self._statistics.record_single(received_ns, received_ns, rows, start_ns, end_ns)
        meter.observe(end_cpu_ns - start_cpu_ns, direct=True)
        return arrays

    def close(self) -> None:
        """Give the instance back."""
        self._instance.close()
