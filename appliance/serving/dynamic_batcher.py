"""The queue of one loaded model: requests go in from the transport, batches come out to instance workers.

Workers pull: an idle worker blocks in `take`, so a batch is formed at the very moment that an instance can run it,
and a worker that finishes takes the next batch without a detour through the event loop.

Ownership: one lock guards the queues; it is never held while anything computes. Whoever is refused, expired or
cancelled is told exactly once, by the thread that takes the request out of the queue.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, islice

from appliance.errors import Busy, Expired
from appliance.model.config import TimeoutAction
from appliance.serving.batching import BatchingPolicy, Dispatch, WaitUntil, decide
from appliance.serving.request import Batch, InferenceRequest

NOTHING = Batch([], 0)  # nobody asked for anything
_LOOK_AHEAD = 4096  # requests considered for one batch; bounds the time under the lock


class DynamicBatcher:
    """Bounded priority queues and the forming of batches."""

    def __init__(
        self,
        policy: BatchingPolicy,
        refused: Callable[[InferenceRequest, Busy | Expired], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._refused = refused
        self._clock = clock
        self._changed = threading.Condition(threading.Lock())
        self._levels: dict[int, deque[InferenceRequest]] = {
            level: deque() for level in range(policy.priority_levels + 1)
        }
        self._delayed: deque[InferenceRequest] = deque()  # timed out with action DELAY: behind all others
        self._waiting = 0  # requests in all queues; written under the lock, read anywhere
        self._closed = False

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return self._waiting

    def submit(self, request: InferenceRequest) -> None:
        """Queue a request. Raises Busy if the queue is full or the model is leaving."""
        level = self._policy.level(request.priority)
        queue_policy = self._policy.queue_policy(level)
        now_s = self._clock()
        request.queued_ns = int(now_s * 1e9)
        timeout_us = queue_policy.default_timeout_microseconds
        if request.timeout_us and queue_policy.allow_timeout_override:
            timeout_us = min(timeout_us, request.timeout_us) if timeout_us else request.timeout_us
        request.expires_s = now_s + timeout_us / 1e6 if timeout_us else None
        with self._changed:
            if self._closed:
                raise Busy("Server is stopping, scheduler for model has stopped accepting new inference requests")
            queue = self._levels[level]
            if len(queue) >= queue_policy.queue_limit:
                raise Busy(
                    f"Exceeds maximum queue size: {len(queue)} requests wait",
                    hint="retry later, or raise max_queue_size in the model's default_queue_policy",
                )
            queue.append(request)
            self._waiting += 1
            self._changed.notify()

    def discard(self, request: InferenceRequest) -> bool:
        """Take a request out whose client has left; False if a worker already has it."""
        with self._changed:
            return self._remove(request)

    def expire(self, request: InferenceRequest) -> None:
        """Apply the queue policy to a request whose timer rang; nothing if a worker already has it."""
        with self._changed:
            rejected = request.expires_s is not None and self._remove(request) and not self._delay(request)
        if rejected:
            self._refused(request, _timed_out())

    def take(self, idle_s: float | None = None) -> Batch | None:
        """Wait for work and return it; None once the batcher is closed and empty. Called by worker threads.

        idle_s: after so long without any work, return NOTHING.
        """
        while True:
            refused: list[InferenceRequest] = []
            with self._changed:
                batch = self._next(refused, idle_s)
                if batch is None and not refused:
                    if self._closed and not self._waiting:
                        return None
                    continue
            for request in refused:
                self._refuse(request)
            if batch is not None:
                return batch

    def close(self) -> None:
        """Refuse new requests; workers finish what waits and then get None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _next(self, refused: list[InferenceRequest], idle_s: float | None) -> Batch | None:
        """Form a batch, or wait once for a change. The lock is held on entry and exit."""
        now_s = self._clock()
        if self._waiting == 1 and not self._policy.delay_s:  # the common case when the box is not busy
            return self._form(1, now_s, refused)
        self._drop_stale_heads(now_s, refused)
        candidates = list(self._candidates())
        blocked = self._policy.joins and len(candidates) < min(self._waiting, _LOOK_AHEAD)
        if not candidates:
            if not self._closed and not refused and not self._changed.wait(idle_s):
                return NOTHING
            return None
        rows = [request.rows for request in candidates]
        oldest_s = min(request.queued_ns for request in candidates) / 1e9
        decision = decide(rows, self._policy, oldest_s=oldest_s, now_s=now_s, blocked=blocked)
        if isinstance(decision, WaitUntil) and not self._closed:
            if not refused:
                self._changed.wait(max(0.0, decision.time_s - now_s))
            return None
        count = decision.count if isinstance(decision, Dispatch) else len(candidates)
        return self._form(count, now_s, refused)

    def _candidates(self) -> Iterator[InferenceRequest]:
        """The requests that could share the next execution, most urgent first."""
        key, rows = None, 0
        limit = _LOOK_AHEAD if self._policy.joins else 1
        for request in islice(chain(*self._levels.values(), self._delayed), limit):
            if rows == 0:
                key = request.batch_key
            if request.batch_key != key or rows > self._policy.max_rows:
                return
            rows += request.rows
            yield request

    def _form(self, count: int, now_s: float, refused: list[InferenceRequest]) -> Batch | None:
        requests = [self._pop() for _ in range(count)]
        if self._waiting:
            self._changed.notify()  # another idle instance may take the rest
        live = [request for request in requests if not self._dispose_if_stale(request, now_s, refused)]
        return Batch(live, sum(request.rows for request in live)) if live else None

    def _pop(self) -> InferenceRequest:
        queue = next(queue for queue in (*self._levels.values(), self._delayed) if queue)
        self._waiting -= 1
        return queue.popleft()

    def _drop_stale_heads(self, now_s: float, refused: list[InferenceRequest]) -> None:
        """Take out what heads a queue but is no longer wanted; the rest is looked at when it gets there."""
        for queue in (*self._levels.values(), self._delayed):
            while queue and self._stale(queue[0], now_s):
                self._waiting -= 1
                self._dispose_if_stale(queue.popleft(), now_s, refused)

    @staticmethod
    def _stale(request: InferenceRequest, now_s: float) -> bool:
        return (
            request.left
            or (request.deadline_s is not None and now_s >= request.deadline_s)
            or (request.expires_s is not None and now_s >= request.expires_s)
        )

    def _dispose_if_stale(self, request: InferenceRequest, now_s: float, refused: list[InferenceRequest]) -> bool:
        """Forget, refuse or delay a request that is out of its queue; False if it is still to be computed."""
        if not self._stale(request, now_s):
            return False
        expired = request.deadline_s is not None and now_s >= request.deadline_s
        if not request.left and (expired or not self._delay(request)):
            refused.append(request)
        return True

    def _delay(self, request: InferenceRequest) -> bool:
        """Put a timed-out request behind all others if its queue policy says so; False: reject it."""
        policy = self._policy.queue_policy(self._policy.level(request.priority))
        if policy.timeout_action is TimeoutAction.REJECT:
            return False
        request.expires_s = None
        self._delayed.append(request)
        self._waiting += 1
        return True

    def _remove(self, request: InferenceRequest) -> bool:
        for queue in (self._levels[self._policy.level(request.priority)], self._delayed):
            for position, queued in enumerate(queue):
                if queued is request:
                    del queue[position]
                    self._waiting -= 1
                    return True
        return False

    def _refuse(self, request: InferenceRequest) -> None:
        if request.deadline_s is not None and self._clock() >= request.deadline_s:
            self._refused(request, Expired("Deadline Exceeded: the request's deadline passed while it waited"))
        else:
            self._refused(request, _timed_out())


def _timed_out() -> Busy:
    return Busy("Request timeout expired: the request waited longer than its queue policy allows")
