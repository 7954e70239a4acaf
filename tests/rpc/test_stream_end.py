"""What becomes of requests that are not answered, because they fail or their stream ends; no daemon, no network."""

import asyncio
import gc
import weakref
from contextlib import suppress
from types import SimpleNamespace

from appliance.errors import InvalidInput
from appliance.rpc.infer import InferPath
from appliance.rpc.stream import answer_in_order
from appliance.rpc.stream_window import LARGEST_COUNT
from appliance.serving.model_table import ModelTable

CALL = SimpleNamespace(peer="", deadline_s=None, metadata={})


def test_a_stream_that_is_closed_cancels_every_request_that_it_has_read():
    started, cancelled = [], []

    async def infer(data, _call):
        started.append(data)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(data)
            raise

    async def requests():
        for number in range(10 * LARGEST_COUNT):
            yield str(number).encode()

    async def scenario():
        async with asyncio.timeout(10):
            consumer = asyncio.create_task(anext(answer_in_order(requests(), CALL, infer, set())))
            while len(started) < LARGEST_COUNT:  # noqa: ASYNC110  (what is waited for has no event of its own)
                await asyncio.sleep(0)
            for _ in range(10):  # the reader goes no further
                await asyncio.sleep(0)
            consumer.cancel()
            await asyncio.wait([consumer])
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  (as above)
                await asyncio.sleep(0)

    asyncio.run(scenario())

    assert len(started) == LARGEST_COUNT
    assert cancelled == started


def test_a_call_that_fails_is_let_go_of_without_the_garbage_collector():
    """Its request and, on the native transport, its connection would stay as long."""

    async def fail(call):
        with suppress(InvalidInput):
            await InferPath(ModelTable()).answer(b"\xff\xff", call)

    class AnyCall:
        deadline_s = None

    call = AnyCall()
    left = weakref.ref(call)
    gc.disable()
    try:
        asyncio.run(fail(call))
        del call

        assert left() is None
    finally:
        gc.enable()
