"""When inferences are taken to come one at a time."""

from appliance.serving.arrivals import Arrivals
from appliance.serving.request import InferenceRequest


def a_request():
    return InferenceRequest(inputs={}, outputs=(), rows=1, batch_key=())


def answered(arrivals):
    """One inference arrives and is answered by a worker before the next comes; what was said of it."""
    said, request = arrivals.note(), a_request()
    arrivals.went(request)
    arrivals.came_back(request)
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
    arrivals.went(a_request())

    assert not arrivals.note()


def test_after_a_meeting_it_takes_as_many_as_at_first():
    arrivals, other = Arrivals(), a_request()
    arrivals.went(other)
    arrivals.note()
    arrivals.came_back(other)

    assert not any(answered(arrivals) for _ in range(32))
    assert answered(arrivals)


def test_a_request_may_come_back_twice():
    """Once when its client leaves, and once more when the worker that had it meanwhile is done."""
    arrivals, first, second = Arrivals(), a_request(), a_request()
    arrivals.went(first)
    arrivals.went(second)
    for _ in range(2):
        arrivals.came_back(first)
    for _ in range(40):
        assert not arrivals.note()  # the second is still away
