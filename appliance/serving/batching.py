"""The rule of dynamic batching: which of the waiting requests go now, or until when to wait. Pure.

The rule is Triton's: a batch of the largest preferred size that can be formed goes at once; otherwise wait until the
oldest request has waited for the queue delay, then send as many as fit. Batches also grow by themselves while all
instances are busy, because nobody asks this question until one of them is idle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.model.config import ModelConfig, QueuePolicy


@dataclass(frozen=True, slots=True)
class BatchingPolicy:
    """What a ModelConfig says about joining requests. max_rows 1 or joins False: every request goes alone."""

    max_rows: int
    joins: bool
    preferred_rows: tuple[int, ...]
    delay_s: float
    priority_levels: int
    default_priority: int
    queue_policies: dict[int, QueuePolicy]
    default_queue_policy: QueuePolicy

    @classmethod
    def from_config(cls, config: ModelConfig) -> "BatchingPolicy":
        """Read the policy from a complete configuration."""
        batching = config.dynamic_batching
        max_rows = config.max_batch_size or 1
        if batching is None:
            return cls(max_rows, False, (), 0.0, 0, 0, {}, QueuePolicy())
        return cls(
            max_rows=max_rows,
            joins=True,
            preferred_rows=tuple(sorted(batching.preferred_batch_size, reverse=True)),
            delay_s=batching.max_queue_delay_microseconds / 1e6,
            priority_levels=batching.priority_levels,
            default_priority=batching.default_priority_level,
            queue_policies=dict(batching.priority_queue_policy),
            default_queue_policy=batching.default_queue_policy,
        )

    def level(self, priority: int) -> int:
        """Map a request's priority to a level; 0 or beyond the last level means the default level."""
        return priority if 1 <= priority <= self.priority_levels else self.default_priority

    def queue_policy(self, level: int) -> QueuePolicy:
        """Return the queue policy of a level."""
        return self.queue_policies.get(level, self.default_queue_policy)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send the first `count` requests now."""

    count: int


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Ask again at this monotonic time, or when another request arrives."""

    time_s: float


def decide(
    rows: Sequence[int], policy: BatchingPolicy, *, oldest_s: float, now_s: float, blocked: bool = False
) -> Dispatch | WaitUntil:
    """Decide about requests of `rows[i]` rows each, in queue order, that could share one execution.

    `rows` is not empty; `oldest_s` is when the first of them was queued; `blocked` says that a request which cannot
    share their execution waits behind them.
    """
    if not policy.joins:
        return Dispatch(1)
    total, fitting, preferred = 0, 0, 0
    for size in rows:
        if fitting and total + size > policy.max_rows:
            break
        total += size
        fitting += 1
        if total in policy.preferred_rows:
            preferred = fitting
    if preferred:
        return Dispatch(preferred)
    cannot_grow = blocked or fitting < len(rows) or total >= policy.max_rows
    if cannot_grow or now_s >= oldest_s + policy.delay_s:
        return Dispatch(fitting)
    return WaitUntil(oldest_s + policy.delay_s)
