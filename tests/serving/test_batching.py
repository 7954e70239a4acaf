"""The pure rule of dynamic batching."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.config import ModelConfig
from appliance.serving.batching import BatchingPolicy, Dispatch, WaitUntil, decide


def policy(max_rows=8, preferred=(8,), delay_us=0, **batching):
    config = ModelConfig(
        max_batch_size=max_rows,
        dynamic_batching={"preferred_batch_size": preferred, "max_queue_delay_microseconds": delay_us, **batching},
    )
    return BatchingPolicy.from_config(config)


def test_without_dynamic_batching_every_request_goes_alone():
    alone = BatchingPolicy.from_config(ModelConfig(max_batch_size=8))

    assert decide([1, 1, 1], alone, oldest_s=0, now_s=0) == Dispatch(1)


def test_without_a_delay_all_that_fits_goes_at_once():
    assert decide([1, 2, 3], policy(), oldest_s=0, now_s=0) == Dispatch(3)
    assert decide([4, 3, 3], policy(), oldest_s=0, now_s=0) == Dispatch(2)


def test_the_largest_preferred_size_that_can_be_formed_goes_first():
    assert decide([1] * 7, policy(preferred=(2, 4)), oldest_s=0, now_s=0) == Dispatch(4)
    assert decide([3, 3], policy(preferred=(2, 4)), oldest_s=0, now_s=0) == Dispatch(2)


def test_a_small_batch_waits_for_the_delay_of_its_oldest_request():
    waiting = policy(delay_us=1000)

    assert decide([1, 1], waiting, oldest_s=5, now_s=5.0005) == WaitUntil(5.001)
    assert decide([1, 1], waiting, oldest_s=5, now_s=5.001) == Dispatch(2)


def test_a_batch_that_cannot_grow_does_not_wait():
    waiting = policy(delay_us=1_000_000)

    assert decide([4, 4], waiting, oldest_s=0, now_s=0) == Dispatch(2)
    assert decide([5, 4], waiting, oldest_s=0, now_s=0) == Dispatch(1)


def test_a_request_as_large_as_the_limit_goes_alone():
    assert decide([8, 1], policy(), oldest_s=0, now_s=0) == Dispatch(1)


@given(
    rows=st.lists(st.integers(1, 8), min_size=1, max_size=40),
    preferred=st.lists(st.integers(1, 8), max_size=3),
    delay_us=st.integers(0, 5000),
    waited_s=st.floats(0, 0.01),
)
def test_a_decision_never_exceeds_the_limit_and_never_waits_past_the_delay(rows, preferred, delay_us, waited_s):
    chosen = policy(preferred=tuple(preferred), delay_us=delay_us)

    decision = decide(rows, chosen, oldest_s=100, now_s=100 + waited_s)

    if isinstance(decision, Dispatch):
        assert 1 <= decision.count <= len(rows)
        assert decision.count == 1 or sum(rows[: decision.count]) <= 8
    else:
        assert 100 + waited_s < decision.time_s <= 100 + delay_us / 1e6
        assert sum(rows) < 8


@pytest.mark.parametrize(("asked", "level"), [(0, 2), (1, 1), (3, 3), (4, 2), (2**63, 2)])
def test_a_priority_outside_the_levels_means_the_default_level(asked, level):
    levels = policy(priority_levels=3, default_priority_level=2)

    assert levels.level(asked) == level


def test_each_level_may_have_its_own_queue_policy():
    levels = policy(priority_levels=2, default_priority_level=1, priority_queue_policy={2: {"max_queue_size": 5}})

    assert levels.queue_policy(2).queue_limit == 5
    assert levels.queue_policy(1).queue_limit == 1024
    assert replace(levels, default_priority=2).level(0) == 2
