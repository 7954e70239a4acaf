"""What more cores could do with the measured costs of a request, on paper. Pure.

Two things can only be done one after the other: what the event loop does, which is one thread, and what is done under
the interpreter's lock, on whichever thread. All else is done side by side: reading and writing on I/O threads, and
computing inside the runtime, which releases the lock.
"""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU per request, in us, by thread. runtime_us: of that, inside the runtime at the least, on any thread."""

    loop_us: float
    io_us: float
    others_us: float
    runtime_us: float

    @property
    def total_us(self) -> float:
        """All of it."""
        return self.loop_us + self.io_us + self.others_us

    @property
    def lock_us(self) -> float:
        """At most so long under the interpreter's lock: all that is neither an I/O thread's nor the runtime's."""
        return max(0.0, self.loop_us + self.others_us - self.runtime_us)

    @property
    def serial_us(self) -> float:
        """What no other request can use."""
        return max(self.loop_us, self.lock_us)

    def requests_per_s(self, cores: int) -> float:
        """Requests that the server could take on so many cores, if nothing else ran there."""
        return min(1e6 / self.serial_us, cores * 1e6 / self.total_us)

    def instances(self, cores: int) -> int:
        """Instances of the model that can compute so many requests."""
        return max(1, ceil(self.requests_per_s(cores) * self.runtime_us / 1e6))
