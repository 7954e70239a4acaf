"""Whether inferences come one at a time, as they do on a box with one caller that waits for each answer.

While one is computed on the event loop, nobody else is seen to arrive. So every few requests one takes the way
through a worker, and if another arrives meanwhile, all do for a while.

Ownership: lives on the event loop.
"""

_PROOF = 32  # arrivals in a row that met nobody
_PROBE_EVERY = 16


class Arrivals:
    """Counts the inferences that are with a worker, or wait for one."""

    def __init__(self) -> None:
        self._away = 0
        self._met_nobody = 0

    def note(self) -> bool:
        """Take note of an arrival; say whether it may be taken for the only one until it is answered."""
        if self._away:
            self._met_nobody = 0
            return False
        self._met_nobody += 1
        return self._met_nobody > _PROOF and self._met_nobody % _PROBE_EVERY != 0

    def __enter__(self) -> None:
        """One more goes to a worker."""
        self._away += 1

    def __exit__(self, *_: object) -> None:
        """It is back."""
        self._away -= 1
