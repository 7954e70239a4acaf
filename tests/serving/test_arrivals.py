"""When inferences are taken to come one at a time."""

from contextlib import ExitStack

from appliance.serving.arrivals import Arrivals


def answered(arrivals):
    """One inference arrives and is answered by a worker before the next comes; what was said of it."""
    said = arrivals.note()
    with arrivals:
        return said


def test_it_takes_many_lone_arrivals_to_believe_it():
    arrivals = Arrivals()
    said = [answered(arrivals) for _ in range(40)]

    assert not any(said[:32])
    assert all(said[32:40])


def test_every_few_requests_one_goes_to_a_worker_to_see_whether_others_arrive_meanwhile():
    arrivals = Arrivals()
    for _ in range(32):
        answered(arrivals)

    said = [answered(arrivals) for _ in range(64)]

    assert said.count(False) == 4


def test_one_meeting_ends_it():
    arrivals = Arrivals()
    for _ in range(40):
        answered(arrivals)
    with arrivals:  # with a worker
        assert not arrivals.note()

    assert not any(answered(arrivals) for _ in range(32))


def test_a_request_that_fails_or_is_cancelled_is_back_too():
    arrivals = Arrivals()
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(arrivals)
    for _ in range(32):
        answered(arrivals)

    assert answered(arrivals)
