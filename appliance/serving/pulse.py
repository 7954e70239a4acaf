"""Whether one instance still computes: written by its thread, read by whoever answers for the whole process.

An execution may take long; one that takes ten times as long as any before it, and longer than an operator waits,
counts as hung. An instance that nobody asks computes its warm-up from time to time, so that a fault shows before a
client meets it.
"""

import time
from collections.abc import Callable

_TIMES_LONGEST = 10
_PROOF_EVERY_S = 15.0
_PROOF_SHARE = 100  # proofs take at most a hundredth of an idle instance's time


class Pulse:
    """The executions of one instance. One thread begins and ends them."""

    __slots__ = ("_began_s", "_clock", "_longest_s")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_s = 0.0  # 0: idle
        self._longest_s = 0.0

    def begin(self) -> None:
        """An execution begins."""
        self._began_s = self._clock()

    def end(self) -> None:
        """It has ended, whichever way."""
        self._longest_s = max(self._longest_s, self._clock() - self._began_s)
        self._began_s = 0.0

    @property
    def proof_after_s(self) -> float:
        """How long it may be idle before it computes its warm-up."""
        return max(_PROOF_EVERY_S, _PROOF_SHARE * self._longest_s)

    def hung(self, patience_s: float) -> str:
        """Say in a sentence that an execution hangs, '' if none does."""
        began_s, longest_s = self._began_s, self._longest_s
        if not began_s:
            return ""
        took_s = self._clock() - began_s
        if took_s <= max(patience_s, _TIMES_LONGEST * longest_s):
            return ""
        return f"an execution has gone on for {took_s:.0f} s, the longest before it took {longest_s:.3g} s"
