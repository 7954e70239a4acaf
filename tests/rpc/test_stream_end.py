"""What becomes of the requests of a stream that ends before they are answered; no daemon, no network."""

import asyncio
from types import SimpleNamespace

from appliance.rpc.stream import answer_in_order
from appliance.rpc.stream_window import LARGEST_COUNT

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
