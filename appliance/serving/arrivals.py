"""Whether inferences come one at a time, as they do on a box with one caller that waits for each answer.

While one is computed on the event loop, nobody else is seen to arrive. So every few requests one takes the way
through a worker, and if another arrives meanwhile, all do for a while.

Ownership: arrivals are noted on the event loop; a request may come back on any thread, and more than once.
"""

from appliance.serving.request import InferenceRequest

_PROOF = 32  # arrivals in a row that met nobody
_PROBE_EVERY = 16


class Arrivals:
    """Knows the inferences that are with a worker, or wait for one."""

    def __init__(self) -> None:
        self._away: set[InferenceRequest] = set()
        self._met_nobody = 0

    def note(self) -> bool:
        """Take note of an arrival; say whether it may be taken for the only one until it is answered."""
        if self._away:
            self._met_nobody = 0
            return False
        self._met_nobody += 1
        return self._met_nobody > _PROOF and self._met_nobody % _PROBE_EVERY != 0

    def went(self, request: InferenceRequest) -> None:
        """One more goes to a worker."""
        self._away.add(request)

    def came_back(self, request: InferenceRequest) -> None:
        """It is answered, or nobody waits for it."""
        self._away.discard(request)
