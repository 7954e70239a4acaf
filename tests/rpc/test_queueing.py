"""Queue limits, timeouts, priorities and deadlines, seen from the client's side."""

import time

import grpc
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.wire import FOUR, SERVICE, TIMEOUT_S, Parameter, answers_right, fp32, queue_depth, request

WAIT_S = 20.0


@pytest.fixture(scope="module")
def submit(channel):
    """Send a request without waiting for its answer."""
    method = channel.unary_unary(f"/{SERVICE}/ModelInfer")

    def submit(model, *, timeout_s=TIMEOUT_S, **fields):
        return method.future(request(model, **fields).SerializeToString(), timeout=timeout_s)

    return submit


def wait_for_depth(daemon, model, depth):
    deadline_s = time.monotonic() + WAIT_S
    while queue_depth(daemon, model) != depth:
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def data_of(future):
    return pb.ModelInferResponse.FromString(future.result()).raw_output_contents[0]


def test_a_full_queue_refuses_at_once_and_the_others_are_answered(submit, daemon):
    """One computes, two wait: the limit."""
    futures = [submit("small_queue") for _ in range(12)]

    refused = [future for future in futures if future.exception() is not None]
    answered = [future for future in futures if future.exception() is None]
    assert 9 <= len(refused) <= 10
    assert {future.code() for future in refused} == {grpc.StatusCode.UNAVAILABLE}
    assert all("Exceeds maximum queue size" in future.details() for future in refused)
    assert all(data_of(future) == FOUR for future in answered)


def test_a_request_that_waits_longer_than_it_allows_is_refused(submit):
    """The first computes for 150 ms, the second allows 20 ms in the queue."""
    first = submit("impatient")
    started_s = time.monotonic()
    second = submit("impatient", parameters={"timeout": Parameter(int64_param=20_000)})

    error = second.exception()

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "Request timeout expired" in error.details()
    assert time.monotonic() - started_s < 0.14
    assert data_of(first) == FOUR


def test_a_timeout_is_for_the_queue_not_for_the_computation(submit):
    alone = submit("impatient", parameters={"timeout": Parameter(int64_param=20_000)})

    assert data_of(alone) == FOUR


def test_a_timeout_counts_only_where_the_model_allows_it(submit):
    futures = [submit("alone", parameters={"timeout": Parameter(int64_param=1)}) for _ in range(3)]

    assert [data_of(future) for future in futures] == [FOUR] * 3


@pytest.mark.parametrize("timeout_us", [0, 2**63 - 1])
def test_extreme_timeouts_are_none(submit, timeout_us):
    futures = [submit("impatient", parameters={"timeout": Parameter(int64_param=timeout_us)}) for _ in range(2)]

    assert [data_of(future) for future in futures] == [FOUR] * 2


@pytest.mark.slow
def test_urgent_requests_overtake_those_that_wait(submit, daemon):
    """Level 1 before level 2, the default; within a level in the order of arrival."""
    finished = []
    first = submit("priorities")
    wait_for_depth(daemon, "priorities", 0)
    futures = []
    for number in range(6):
        urgent = number >= 4
        future = submit(
            "priorities",
            raw=[fp32((number,) * 4)],
            parameters={"priority": Parameter(uint64_param=1)} if urgent else None,
        )
        future.add_done_callback(lambda _, number=number: finished.append(number))
        futures.append(future)
        if number < 5:
            wait_for_depth(daemon, "priorities", number + 1)

    assert [data_of(future) for future in [first, *futures]] == [FOUR, *(fp32((n,) * 4) for n in range(6))]
    wait_until_all(finished, 6)
    assert finished == [4, 5, 0, 1, 2, 3]


def wait_until_all(finished, count):
    deadline_s = time.monotonic() + WAIT_S
    while len(finished) < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


@pytest.mark.parametrize("priority", [0, 3, 2**64 - 1])
def test_a_priority_beyond_the_levels_is_the_default(submit, priority):
    assert data_of(submit("priorities", parameters={"priority": Parameter(uint64_param=priority)})) == FOUR


def test_a_deadline_in_the_queue_ends_the_wait(submit, daemon):
    """And the request leaves the queue: it is never computed."""
    first = submit("alone")
    late = submit("alone", timeout_s=0.05)

    assert late.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_for_depth(daemon, "alone", 0)
    assert data_of(first) == FOUR


def test_a_deadline_in_the_computation_ends_the_wait(submit, channel):
    late = submit("alone", timeout_s=0.05)

    assert late.exception().code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert answers_right(channel, "alone")


def test_a_cancelled_request_leaves_the_queue(submit, daemon):
    futures = [submit("alone") for _ in range(5)]
    wait_for_depth(daemon, "alone", 4)

    for future in futures[1:]:
        future.cancel()

    wait_for_depth(daemon, "alone", 0)
    assert data_of(futures[0]) == FOUR
