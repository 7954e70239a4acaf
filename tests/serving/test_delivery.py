"""On which thread an answered request comes back, and that nothing of it stays."""

import asyncio
import gc
import threading
import weakref
from contextlib import contextmanager

import pytest

from appliance.errors import Busy
from appliance.serving.delivery import Delivery
from appliance.serving.request import InferenceRequest
from appliance.serving.statistics import ModelStatistics


class Asker:
    """Whoever asked: knows its request, as the request knows it."""

    def __init__(self, *, any_thread):
        self.threads = []
        self.request = InferenceRequest(inputs={}, outputs=(), rows=1, batch_key=())
        self.request.any_thread = any_thread
        self.request.deliver = self.take

    def take(self, request):
        assert request is self.request
        self.threads.append(threading.current_thread())


def delivered(askers, *, busy):
    """Deliver from a worker thread; return the names of the threads on which they came back."""

    async def main():
        delivery = Delivery(asyncio.get_running_loop(), ModelStatistics())
        requests = [asker.request for asker in askers]
        worker = threading.Thread(target=lambda: delivery.deliver(requests, busy=busy), name="worker")
        worker.start()
        await asyncio.to_thread(worker.join)
        await asyncio.sleep(0)

    asyncio.run(main())
    return [thread.name for asker in askers for thread in asker.threads]


@pytest.mark.parametrize(
    ("any_thread", "busy", "expected"),
    [
        ((True, True), False, ["worker", "worker"]),
        ((True, True), True, ["MainThread", "MainThread"]),  # the instance has other work
        ((False, False), False, ["MainThread", "MainThread"]),
        ((True, False), False, ["MainThread", "MainThread"]),
    ],
)
def test_the_worker_answers_itself_where_that_is_allowed_and_nothing_waits(any_thread, busy, expected):
    askers = [Asker(any_thread=allowed) for allowed in any_thread]

    assert delivered(askers, busy=busy) == expected


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_several_that_come_back_together_do_so_in_what_they_were_given_for_that(count, busy):
    happened = []
    askers = [Asker(any_thread=True) for _ in range(count)]
    for asker in askers:
        asker.request.together = noted(happened)
        asker.request.deliver = lambda _: happened.append(threading.current_thread().name)

    delivered(askers, busy=busy)

    thread = "MainThread" if busy else "worker"
    assert happened == ([thread] if count == 1 else ["begin", thread, thread, thread, "end"])


@contextmanager
def noted(happened):
    happened.append("begin")
    yield
    happened.append("end")


def test_a_timer_is_cancelled_whichever_thread_delivers():
    async def main():
        loop = asyncio.get_running_loop()
        asker = Asker(any_thread=True)
        timer = asker.request.timer = loop.call_later(60, lambda: None)
        await asyncio.to_thread(Delivery(loop, ModelStatistics()).deliver, [asker.request], busy=False)
        await asyncio.sleep(0)
        return timer.cancelled(), asker.request.delivered

    assert asyncio.run(main()) == (True, True)


def test_a_refusal_comes_back_on_the_loop_with_its_reason():
    async def main():
        asker = Asker(any_thread=True)
        delivery = Delivery(asyncio.get_running_loop(), ModelStatistics())
        await asyncio.to_thread(delivery.refuse, asker.request, Busy("full"))
        await asyncio.sleep(0)
        return asker

    asker = asyncio.run(main())
    assert [thread.name for thread in asker.threads] == ["MainThread"]
    assert str(asker.request.error) == "full"


@pytest.mark.parametrize("left", [False, True])
def test_what_is_delivered_or_left_is_freed_at_once_and_not_by_the_collector(left):
    """It may hold a client's connection."""
    gc.disable()
    try:
        asker = Asker(any_thread=True)
        seen = weakref.ref(asker)
        if left:
            asker.request.leave()
        else:
            delivered([asker], busy=False)
        del asker
        assert seen() is None
    finally:
        gc.enable()
