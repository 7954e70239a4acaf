"""The transport on gRPC's core: what `appliance_native` reads from the network, on threads of its own, in bunches.

The I/O threads never hold the interpreter's lock. What has come is taken on the event loop, all of it at one wake-up;
answers go out from whichever thread has them. Nothing here knows grpcio, which must not live in the same process.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import appliance_native as native
import psutil

from appliance.rpc.call import ImmediateMethod, RequestBytes, ServerStreamMethod, Service, StreamMethod, UnaryMethod
from appliance.rpc.channel_arguments import channel_arguments
from appliance.rpc.native_answer import NativeAnswer
from appliance.rpc.native_io import NativeIo
from appliance.rpc.native_stream import NativeStream
from appliance.rpc.outcome import outcome
from appliance.rpc.server_tls import read_tls
from appliance.rpc.transport import Endpoint, cannot_listen, say_goodbye
from appliance.rpc.unix_socket import remove_dead_socket
from appliance.settings import ServerSettings


class NativeTransport:
    """Serves services on TCP addresses and Unix sockets; several share one NativeIo."""

    name = "native"

    def __init__(self, io: NativeIo, services: Sequence[Service], settings: ServerSettings) -> None:
        self._io = io
        self._server = native.Server(
            io.threads,
            channel_arguments(settings),
            max_calls=settings.max_concurrent_requests,
            memory_bytes=settings.request_memory_bytes or psutil.virtual_memory().total // 2,
        )
        tls = read_tls(settings)
        self._tls = (tls.certificate_chain, tls.key, tls.client_authorities) if tls is not None else ()
        self._tasks: dict[native.Call, asyncio.Task[None]] = {}
        for service in services:
            self._add(service)

    async def start(self, endpoints: Sequence[Endpoint]) -> list[str]:
        """Bind and accept; see Transport."""
        self._loop = asyncio.get_running_loop()
        self._io.begin(self._server)
        try:
            bound = [self._bind(endpoint) for endpoint in endpoints]
        except BaseException:
            await self._end(0)
            raise
        self._server.start()
        return bound

    async def stop(self, grace_s: float, refuse: Callable[[], None] = lambda: None) -> None:
        """End; see Transport."""
        await say_goodbye(partial(self._end, grace_s), grace_s, refuse)

    def _bind(self, endpoint: Endpoint) -> str:
        if endpoint.socket is not None:
            remove_dead_socket(endpoint.socket)
        port = self._server.bind(endpoint.address, *(self._tls if endpoint.socket is None else ()))
        if not port:
            raise cannot_listen(endpoint)
        return endpoint.opened(port)

    async def _end(self, grace_s: float) -> None:
        self._server.stop()
        stopped = self._io.stopped(self._server)
        try:
            await asyncio.wait_for(asyncio.shield(stopped), grace_s)
        except TimeoutError:
            self._server.cancel_calls()
            await asyncio.shield(stopped)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._io.end(self._server)

    def _add(self, service: Service) -> None:
        for name, unary in service.unary.items():
            immediate = service.immediate.get(name)
            begin = (
                partial(self._begin_unary, unary) if immediate is None else partial(self._begin_immediate, immediate)
            )
            self._add_method(service, name, begin)
        for name, method in service.server_streams.items():
            self._add_method(service, name, partial(self._begin_server_stream, method))
        for name, stream in service.streams.items():
            self._add_method(service, name, partial(self._begin_stream, stream), reads_itself=True)

    def _add_method(
        self,
        service: Service,
        name: str,
        begin: Callable[[native.Call, RequestBytes], None],
        *,
        reads_itself: bool = False,
    ) -> None:
        number = self._io.number(begin)
        self._server.add_method(f"/{service.name}/{name}", number, reads_itself=reads_itself)

    def _begin_unary(self, method: UnaryMethod, call: native.Call, request: RequestBytes) -> None:
        self._run(call, _answer(method, call, request))

    def _begin_immediate(self, method: ImmediateMethod, call: native.Call, request: RequestBytes) -> None:
        answer = NativeAnswer(call, self._io)
        try:
            leave = method(request, call, answer)
        except Exception as error:  # noqa: BLE001  (every failure of a method is the answer to its own client)
            answer.fail(error)
            return
        if leave is not None:
            answer.watched = True
            self._io.watch(call, leave)
            if answer.given:  # meanwhile, by another thread, which says so before it looks at `watched`
                self._io.forget(call)

    def _begin_server_stream(self, method: ServerStreamMethod, call: native.Call, request: RequestBytes) -> None:
        stream = NativeStream(call, self._loop)
        self._run(call, stream.answer(method(request, call)), stream)

    def _begin_stream(self, method: StreamMethod, call: native.Call, _: RequestBytes) -> None:
        stream = NativeStream(call, self._loop)
        self._run(call, stream.answer(method(stream, call)), stream)

    def _run(self, call: native.Call, work: Coroutine[Any, Any, None], stream: NativeStream | None = None) -> None:
        """Run what answers a call as a task, which is cancelled with the call."""
        task = self._tasks[call] = self._loop.create_task(work)
        self._io.watch(call, task.cancel, stream)
        task.add_done_callback(lambda _: self._forget(call))

    def _forget(self, call: native.Call) -> None:
        del self._tasks[call]
        self._io.forget(call)


async def _answer(method: UnaryMethod, call: native.Call, request: RequestBytes) -> None:
    try:
        call.reply(await method(request, call))
    except BaseException as error:
        call.finish(*outcome(error))
        if not isinstance(error, Exception):
            raise
