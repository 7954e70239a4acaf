"""How answered requests come back to whoever asked.

Ownership: knows nothing of the LoadedModel, so that a closed one goes at once and not with some later collection.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from appliance.errors import Busy, Expired
from appliance.serving.request import InferenceRequest
from appliance.serving.statistics import ModelStatistics

logger = logging.getLogger(__name__)


class Delivery:
    """Hands requests over on the event loop, with one wake-up for a whole batch, or at once where that is allowed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, statistics: ModelStatistics) -> None:
        self._loop = loop
        self._statistics = statistics

    def deliver(self, requests: Sequence[InferenceRequest], *, busy: bool) -> None:
        """Called by worker threads. busy: more waits for this one, so others shall do what can be done by others."""
        if not busy and all(request.any_thread for request in requests):
            self._hand_over(requests)
        else:
            self._hand_over_on_loop(requests)

    def refuse(self, request: InferenceRequest, error: Busy | Expired) -> None:
        """Answer a request that will not be computed. Called by any thread."""
        request.error = error
        self._statistics.record_failure(request.received_ns)
        self._hand_over_on_loop([request])

    def _hand_over_on_loop(self, requests: Sequence[InferenceRequest]) -> None:
        self._call_on_loop(self._hand_over, requests)

    def _hand_over(self, requests: Sequence[InferenceRequest]) -> None:
        if len(requests) == 1:
            self._hand_over_each(requests)
        else:
            with requests[0].together:  # they come over the same transport
                self._hand_over_each(requests)

    def _hand_over_each(self, requests: Sequence[InferenceRequest]) -> None:
        for request in requests:
            request.delivered = True
            if request.timer is not None:
                self._call_on_loop(request.timer.cancel)
            deliver, request.deliver = request.deliver, None  # which may hold the request: no cycle shall stay
            if deliver is not None:
                deliver(request)

    def _call_on_loop(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the loop is closed: the process is ending
            logger.debug("answered requests that nobody waits for")
