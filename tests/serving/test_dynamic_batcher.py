"""The queue between transport and workers, with a clock that the test moves."""

import threading

import pytest

from appliance.errors import Busy, Expired
from appliance.model.config import ModelConfig
from appliance.serving.batching import BatchingPolicy
from appliance.serving.dynamic_batcher import DynamicBatcher
from appliance.serving.request import InferenceRequest


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def refused():
    return []


@pytest.fixture
def batcher_of(clock, refused):
    def make(**batching):
        config = ModelConfig(max_batch_size=8, dynamic_batching={"preferred_batch_size": (8,), **batching})
        return DynamicBatcher(
            BatchingPolicy.from_config(config), lambda request, error: refused.append((request, error)), clock
        )

    return make


def request(rows=1, key="k", **fields):
    return InferenceRequest({}, ("y",), rows, key, **fields)


def submit(batcher, *requests):
    for each in requests:
        batcher.submit(each)
    return requests


def test_requests_that_fit_together_form_one_batch(batcher_of):
    batcher = batcher_of()
    requests = submit(batcher, request(), request(2), request(3))

    batch = batcher.take()

    assert batch.requests == list(requests)
    assert batch.rows == 6
    assert batcher.depth == 0


def test_requests_of_other_shapes_are_not_joined(batcher_of):
    batcher = batcher_of()
    first, other, last = submit(batcher, request(), request(key="other"), request())

    assert batcher.take().requests == [first]
    assert batcher.take().requests == [other]
    assert batcher.take().requests == [last]


def test_urgent_requests_overtake(batcher_of):
    batcher = batcher_of(priority_levels=2, default_priority_level=2)
    slow = submit(batcher, *(request(8) for _ in range(3)))
    (urgent,) = submit(batcher, request(8, priority=1))

    assert batcher.take().requests == [urgent]
    assert batcher.take().requests == [slow[0]]


def test_a_full_queue_refuses_and_keeps_what_it_has(batcher_of):
    batcher = batcher_of(default_queue_policy={"max_queue_size": 2})
    submit(batcher, request(), request())

    with pytest.raises(Busy, match="Exceeds maximum queue size"):
        batcher.submit(request())

    assert batcher.take().rows == 2


def test_a_request_that_waited_too_long_is_rejected_and_its_neighbour_served(batcher_of, clock, refused):
    batcher = batcher_of(default_queue_policy={"default_timeout_microseconds": 1000})
    (late,) = submit(batcher, request())
    clock.now_s += 0.002
    (fresh,) = submit(batcher, request())

    batch = batcher.take()

    assert batch.requests == [fresh]
    assert [(each, type(error)) for each, error in refused] == [(late, Busy)]
    assert "Request timeout expired" in str(refused[0][1])


def test_a_client_may_shorten_its_timeout_where_the_policy_allows_it(batcher_of, clock, refused):
    batcher = batcher_of(default_queue_policy={"default_timeout_microseconds": 9000, "allow_timeout_override": True})
    (late,) = submit(batcher, request(timeout_us=1000))
    submit(batcher, request(timeout_us=20_000))
    clock.now_s += 0.002

    assert batcher.take().rows == 1
    assert refused[0][0] is late


def test_with_action_delay_a_late_request_goes_behind_all_others_and_is_still_served(batcher_of, clock, refused):
    policy = {"default_timeout_microseconds": 1000, "timeout_action": "DELAY"}
    batcher = batcher_of(default_queue_policy=policy)
    (late,) = submit(batcher, request(8))
    clock.now_s += 0.002
    (fresh,) = submit(batcher, request(8))

    assert batcher.take().requests == [fresh]
    assert batcher.take().requests == [late]
    assert refused == []


def test_a_timer_that_rings_rejects_at_once(batcher_of, refused):
    batcher = batcher_of(default_queue_policy={"default_timeout_microseconds": 1000})
    (late,) = submit(batcher, request())

    batcher.expire(late)

    assert refused[0][0] is late
    assert batcher.depth == 0


def test_a_request_whose_deadline_passed_is_not_computed(batcher_of, clock, refused):
    batcher = batcher_of()
    (late,) = submit(batcher, request(deadline_s=clock.now_s + 1))
    clock.now_s += 2
    (fresh,) = submit(batcher, request())

    assert batcher.take().requests == [fresh]
    assert [(each, type(error)) for each, error in refused] == [(late, Expired)]


def test_a_client_that_left_is_dropped_wherever_it_waits(batcher_of, refused):
    batcher = batcher_of()
    first, middle, last = submit(batcher, request(), request(), request())
    middle.leave()
    assert batcher.discard(first)

    assert batcher.take().requests == [last]
    assert refused == []
    assert not batcher.discard(last)


def test_a_closed_batcher_refuses_new_requests_and_hands_out_what_waits(batcher_of):
    batcher = batcher_of(max_queue_delay_microseconds=10_000_000)
    submit(batcher, request())
    batcher.close()

    with pytest.raises(Busy, match="Server is stopping"):
        batcher.submit(request())

    assert batcher.take().rows == 1
    assert batcher.take() is None


def test_an_idle_worker_wakes_for_a_request_and_for_the_end(batcher_of):
    batcher = batcher_of()
    taken = []
    worker = threading.Thread(target=lambda: taken.extend(iter(batcher.take, None)))
    worker.start()
    submit(batcher, request())
    batcher.close()
    worker.join(5)

    assert not worker.is_alive()
    assert [batch.rows for batch in taken] == [1]


def test_many_workers_share_the_queue_without_losing_or_doubling_anything(batcher_of):
    batcher = batcher_of(default_queue_policy={"max_queue_size": 100_000})
    taken = []
    workers = [threading.Thread(target=lambda: taken.extend(iter(batcher.take, None))) for _ in range(4)]
    for worker in workers:
        worker.start()
    requests = submit(batcher, *(request(index % 3 + 1, key=index % 2) for index in range(2000)))
    batcher.close()
    for worker in workers:
        worker.join(20)

    served = [each for batch in taken for each in batch.requests]
    assert len(served) == len(set(map(id, served))) == len(requests)
    assert all(batch.rows <= 8 for batch in taken)
