"""What all native transports of a process share: the I/O threads, and the events that they have for the event loop.

One eventfd wakes the loop, which takes events until there are none. The threads end with the last server.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import appliance_native as native

from appliance.rpc.call import RequestBytes
from appliance.rpc.native_bunch import TOGETHER
from appliance.rpc.native_stream import NativeStream
from appliance.settings import ServerSettings

logger = logging.getLogger(__name__)

_MOST_THREADS = 4
_BUNCHES = 4  # taken before the rest of the loop has its turn

Begin = Callable[[native.Call, RequestBytes], None]


class NativeIo:
    """Takes events and hands each to whom it is for. Lives on the event loop."""

    def __init__(self, settings: ServerSettings) -> None:
        self.threads = native.Io(threads=settings.io_threads or _usual_threads())
        self._begin: list[Begin] = []  # by the number of a method
        self._cancel: dict[native.Call, Callable[[], object]] = {}
        self._streams: dict[native.Call, NativeStream] = {}
        self._servers: dict[native.Server, asyncio.Future[None]] = {}
        self._ended = False

    def number(self, begin: Begin) -> int:
        """Return the number of a method, by which its calls are told of; `begin` is called with call and request."""
        self._begin.append(begin)
        return len(self._begin) - 1

    def begin(self, server: native.Server) -> None:
        """Take the events of one more server, until `end`."""
        assert not self._ended, "its threads have ended with the last server"
        loop = asyncio.get_running_loop()
        if not self._servers:
            loop.add_reader(self.threads.fileno(), self._take)
        self._servers[server] = loop.create_future()

    def stopped(self, server: native.Server) -> "asyncio.Future[None]":
        """Return what is done when the server has no more calls, after its `stop`."""
        return self._servers[server]

    def end(self, server: native.Server) -> None:
        """Forget a server that has stopped. With the last one the threads end."""
        del self._servers[server]
        if not self._servers:
            asyncio.get_running_loop().remove_reader(self.threads.fileno())
            self.threads.close()
            self._ended = True

    def watch(self, call: native.Call, cancel: Callable[[], object], stream: NativeStream | None = None) -> None:
        """Hand what becomes of a call to `cancel` and `stream`, until `forget`. Called by any thread."""
        self._cancel[call] = cancel
        if stream is not None:
            self._streams[call] = stream
        call.watch()

    def forget(self, call: native.Call) -> None:
        """The call is answered. Called by any thread."""
        self._cancel.pop(call, None)
        self._streams.pop(call, None)

    def _take(self) -> None:
        for _ in range(_BUNCHES):
            if not (events := self.threads.take()):
                return
            if len(events) == 1:
                self._hand_on(events)
            else:
                with TOGETHER:
                    self._hand_on(events)
        # The descriptor stays readable, because nobody was told that there is nothing.

    def _hand_on(self, events: Sequence[tuple[int, Any, Any]]) -> None:
        for kind, subject, payload in events:
            try:
                if kind >= 0:
                    self._begin[kind](subject, payload)
                else:
                    self._told(kind, subject, payload)
            except Exception:  # the events behind it are other clients'
                logger.exception("an event of the native transport was lost")
            native.send_late()  # what was answered does not wait for all that is only queued

    def _told(self, kind: int, subject: Any, payload: RequestBytes) -> None:
        """Hand on what became of a call, or of a server."""
        if kind == native.CANCELLED:
            if (cancel := self._cancel.pop(subject, None)) is not None:
                cancel()
        elif kind == native.STOPPED:
            if not (stopped := self._servers[subject]).done():  # whoever waited may have left
                stopped.set_result(None)
        elif (stream := self._streams.get(subject)) is not None:
            stream.told(kind, payload)


def _usual_threads() -> int:
    """Half of the processors, as the others compute."""
    return max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0)) // 2))
