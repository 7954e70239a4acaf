"""Computing requests where they arrive, without the way to a worker thread and back.

Waking a worker and being woken by it costs about 100 us of CPU (measured: two futex waits, a wake-up of the event
loop, and the interpreter lock changing hands twice), ten times what a tiny model computes. So a request goes straight
through when nothing waits, the batcher was not told to wait for others, the runtime allows calls from any thread, and
requests of exactly this form (model, shapes, outputs) have just been computed quickly several times in a row.
Everything else queues.

How quickly depends on who else is there. A tiny computation costs others less than the detour would. A short one may
go straight through only while inferences come one at a time: then it holds up nobody, or one health check.

"Quickly" is CPU time of the computing thread: on a busy machine the wall clock tells of everybody else's work.

Ownership: lives on the event loop.
"""

import time
from collections.abc import Mapping, Sequence

from appliance.backends.base import Array, ModelInstance
from appliance.serving.execution import check_rows
from appliance.serving.statistics import ModelStatistics

TINY_NS = 150_000  # what may hold up the event loop at any time
SHORT_NS = 2_000_000  # what may hold it up while there is nobody else
_FIRST_TRUST = 8  # quick computations by a worker before the event loop may try
_MOST_TRUST = 1 << 20
_FAR_TOO_LONG = 4  # times the limit; shorter excesses are cold caches


class Meter:
    """Whether requests of one form stay below one limit. One slow computation sends the form back to the workers, and
    each time it has to be quick twice as often before it may return.
    """

    __slots__ = ("_longest_ns", "_needed", "_quick")

    def __init__(self, longest_ns: int) -> None:
        self._longest_ns = longest_ns
        self._needed = _FIRST_TRUST
        self._quick = 0

    @property
    def trusted(self) -> bool:
        """Whether such a request may be computed on the event loop."""
        return self._quick >= self._needed

    def observe(self, took_ns: int, *, direct: bool, joined: bool) -> None:
        """Take note of one computation; parameters as for DirectMeter."""
        if took_ns <= self._longest_ns:
            self._quick += 1
        elif joined:
            return  # alone it might have been quick
        elif took_ns <= _FAR_TOO_LONG * self._longest_ns:
            self._quick = max(0, min(self._quick, self._needed) - 1)
        else:
            self._quick = 0
            if direct:
                self._needed = min(2 * self._needed, _MOST_TRUST)


class DirectMeter:
    """How long requests of one form take."""

    __slots__ = ("short", "tiny")

    def __init__(self) -> None:
        self.tiny = Meter(TINY_NS)
        self.short = Meter(SHORT_NS)

    def trusts(self, *, alone: bool) -> bool:
        """Whether such a request may be computed on the event loop. `alone`: inferences come one at a time."""
        return self.tiny.trusted or (alone and self.short.trusted)

    def observe(self, took_ns: int, *, direct: bool = False, joined: bool = False) -> None:
        """Take note of one computation, in CPU time.

        direct: it was on the event loop. joined: of a batch with others, so alone it would have taken at most that.
        """
        self.tiny.observe(took_ns, direct=direct and self.tiny.trusted, joined=joined)
        self.short.observe(took_ns, direct=direct, joined=joined)


class DirectPath:
    """Computes; `instance` must allow calls from any thread."""

    def __init__(self, instance: ModelInstance, statistics: ModelStatistics, *, batched: bool) -> None:
        self._instance = instance
        self._statistics = statistics
        self._batched = batched

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
