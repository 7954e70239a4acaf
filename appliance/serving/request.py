"""One inference on its way through serving.

Ownership: a request belongs to the caller until `DynamicBatcher.submit`, to the batcher while it waits, to one worker
thread while it is computed, and to the caller again once `deliver` was called. The caller may leave at any time:
`leave` only marks the request, and whoever holds it drops it at the next look.
"""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from appliance.backends.base import Array
from appliance.errors import ApplianceError

EACH_AT_ONCE = nullcontext()


@dataclass(slots=True, eq=False)
class InferenceRequest:
    """Validated input of one inference and, later, its outcome.

    inputs: name -> array, shape complete (batch on axis 0 if the model has one). rows: size of that axis, else 1.
    outputs: names in the order of the answer. batch_key: only requests with equal keys can share an execution.
    """

    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    rows: int
    batch_key: Hashable
    priority: int = 0  # 0: the model's default level
    timeout_us: int = 0  # 0: the queue policy's own
    deadline_s: float | None = None  # monotonic; after it nobody wants the answer
    received_ns: int = 0
    queued_ns: int = 0
    expires_s: float | None = None  # monotonic; after it the queue policy applies
    any_thread: bool = False  # whether `deliver` may be called by any thread; else only on the event loop
    together: AbstractContextManager[object] = EACH_AT_ONCE  # for several that one thread delivers
    deliver: "Callable[[InferenceRequest], None] | None" = None
    delivered: bool = False  # said before `timer` is looked at
    timer: "asyncio.TimerHandle | None" = None  # that applies `expires_s`
    computed_ns: int = 0  # CPU time of the thread that executed it, alone or with others
    joined: bool = False  # whether it was with others
    left: bool = False
    result: list[Array] = field(default_factory=list)
    error: ApplianceError | None = None

    def leave(self) -> None:
        """The caller no longer waits."""
        self.left = True
        self.deliver = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests that share one execution."""

    requests: Sequence[InferenceRequest]
    rows: int
