"""One streaming call of the native transport: messages come when they are asked for, and go one at a time."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import appliance_native as native

from appliance.rpc.call import Parts, RequestBytes
from appliance.rpc.outcome import outcome
from appliance.rpc.status import OK


class NativeStream:
    """What the client sends, as an async iterator, and what it is sent. Lives on the event loop."""

    def __init__(self, call: native.Call, loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._loop = loop
        self._incoming: asyncio.Future[RequestBytes | None] | None = None
        self._written: asyncio.Future[None] | None = None

    async def answer(self, responses: AsyncIterator[Parts]) -> None:
        """Send all responses, each when the one before is on its way, then end the call."""
        try:
            async for parts in responses:
                self._written = self._loop.create_future()
                self._call.write(parts)
                await self._written
        except BaseException as error:
            self._call.finish(*outcome(error))
            if not isinstance(error, Exception):
                raise
        else:
            self._call.finish(OK, "")

    def told(self, kind: int, payload: RequestBytes) -> None:
        """Take an event of this call."""
        if kind == native.WRITTEN:
            _resolve(self._written, None)
        else:
            _resolve(self._incoming, payload if kind == native.MESSAGE else None)

    def __aiter__(self) -> AsyncIterator[RequestBytes]:
        return self

    async def __anext__(self) -> RequestBytes:
        self._incoming = self._loop.create_future()
        self._call.read()
        message = await self._incoming
        if message is None:
            raise StopAsyncIteration
        return message


def _resolve(future: "asyncio.Future[Any] | None", result: Any) -> None:
    if future is not None and not future.done():  # whoever waited may have left
        future.set_result(result)
