"""The transport on grpcio: the only module of the daemon that knows its types.

Methods are registered on raw bytes. A client that cancels, or whose deadline passes, cancels the method's coroutine.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_reflection.v1alpha import reflection

from appliance.errors import ApplianceError, Busy
from appliance.rpc.call import Call, Parts, ServerStreamMethod, Service, StreamMethod, UnaryMethod, joined
from appliance.rpc.status import status_code
from appliance.rpc.unix_socket import remove_dead_socket
from appliance.settings import ServerSettings

logger = logging.getLogger(__name__)

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_LONGEST_DETAILS = 600  # characters; each may take 12 bytes (percent-encoded), and clients take 8 KiB of headers
_LAME_DUCK_S = 0.2  # clients that pause between two requests come back into the hands of a service that drains
_GOODBYE_S = 0.1  # until every client has read that the connection ends
_Context = grpc.aio.ServicerContext[Any, Any]


class GrpcioCall:
    """Our call context over grpcio's; each fact is read when asked for."""

    __slots__ = ("_context",)

    def __init__(self, context: _Context) -> None:
        self._context = context

    @property
    def peer(self) -> str:
        """Who calls."""
        return self._context.peer()

    @property
    def deadline_s(self) -> float | None:
        """Monotonic time of the client's deadline."""
        remaining_s = self._context.time_remaining()
        return None if remaining_s is None else time.monotonic() + remaining_s

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """The client's headers."""
        return dict(self._context.invocation_metadata() or ())


class GrpcioTransport:
    """Serves services on TCP addresses and Unix sockets."""

    name = "grpcio"

    def __init__(self, services: Sequence[Service], settings: ServerSettings) -> None:
        self._server = grpc.aio.server(
            options=_options(settings), maximum_concurrent_rpcs=settings.max_concurrent_requests
        )
        for service in services:
            self._server.add_generic_rpc_handlers((_handlers(service),))
        if settings.reflection:
            names = [service.name for service in services]
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        self.listeners: list[str] = []

    def listen(self, address: str, *, socket_mode: int | None = None) -> str:
        """Bind `host:port` (port 0: any) or `unix:/path`; return the address that clients use.

        Raises Busy if it cannot be bound.
        """
        path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        if path is not None:
            remove_dead_socket(path)
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise Busy(
                f"cannot listen on {address}: it is in use, or not an address of this machine",
                hint="who has it: ss -ltnp; another address: appliance serve --listen HOST:PORT",
            ) from error
        if path is not None and socket_mode is not None:
            path.chmod(socket_mode)
        bound = address if path is not None else f"{address.rpartition(':')[0]}:{port}"
        self.listeners.append(bound)
        return bound

    async def start(self) -> None:
        """Begin to accept calls."""
        await self._server.start()

    async def stop(self, grace_s: float, refuse: Callable[[], None] = lambda: None) -> None:
        """Take no new calls, wait at most `grace_s` for those in flight, cancel the rest.

        `refuse` is called when the clients know of the end: services that drain keep new calls waiting until then.
        gRPC answers CANCELLED, which no client tries again, to what arrives after its server has ended and before
        its client has read so. A client whose call waits sends no other meanwhile.
        """
        await asyncio.sleep(min(grace_s, _LAME_DUCK_S))
        ending = asyncio.create_task(self._server.stop(grace_s))
        await asyncio.wait([ending], timeout=min(grace_s, _GOODBYE_S))
        refuse()
        await ending


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", int(settings.keepalive_time_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(settings.keepalive_timeout_s * 1000)),
        ("grpc.keepalive_permit_without_calls", int(settings.permit_keepalive_without_calls)),
        ("grpc.http2.min_ping_interval_without_data_ms", int(settings.min_ping_interval_s * 1000)),
        ("grpc.so_reuseport", 0),  # a second daemon on the same port must fail, not share the clients
        ("grpc.enable_http_proxy", 0),
    ]


def _handlers(service: Service) -> "grpc.GenericRpcHandler[Any, Any]":
    handlers = {
        **{name: grpc.unary_unary_rpc_method_handler(_unary(method)) for name, method in service.unary.items()},
        **{
            name: grpc.unary_stream_rpc_method_handler(_server_stream(method))
            for name, method in service.server_streams.items()
        },
        **{name: grpc.stream_stream_rpc_method_handler(_stream(method)) for name, method in service.streams.items()},
    }
    return grpc.method_handlers_generic_handler(service.name, handlers)


def _unary(method: UnaryMethod) -> Callable[[bytes, _Context], Awaitable[bytes]]:
    async def handle(request: bytes, context: _Context) -> bytes:
        try:
            parts = await method(request, GrpcioCall(context))
        except Exception as error:  # noqa: BLE001  (every failure of a method is the answer to its own client)
            await _abort(context, error)
        return joined(parts)

    return handle


def _server_stream(method: ServerStreamMethod) -> Callable[[bytes, _Context], AsyncIterator[bytes]]:
    async def handle(request: bytes, context: _Context) -> AsyncIterator[bytes]:
        async for message in _messages(method(request, GrpcioCall(context)), context):
            yield message

    return handle


def _stream(method: StreamMethod) -> Callable[[AsyncIterator[bytes], _Context], AsyncIterator[bytes]]:
    async def handle(requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        call: Call = GrpcioCall(context)
        async for message in _messages(method(requests, call), context):
            yield message

    return handle


async def _messages(responses: AsyncIterator[Parts], context: _Context) -> AsyncIterator[bytes]:
    try:
        async for parts in responses:
            yield joined(parts)
    except Exception as error:  # noqa: BLE001  (as above)
        await _abort(context, error)


async def _abort(context: _Context, error: Exception) -> None:
    if isinstance(error, ApplianceError):
        await context.abort(_CODES[status_code(error)], _fitting(str(error)))
    if isinstance(error, (grpc.aio.AbortError, asyncio.CancelledError)):
        raise error
    logger.error("a method failed", exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, f"internal error: {type(error).__name__}")


def _fitting(details: str) -> str:
    """Shorten a sentence in its middle: it travels in a header, and clients drop an answer with long headers."""
    if len(details) <= _LONGEST_DETAILS:
        return details
    half = _LONGEST_DETAILS // 2
    return f"{details[:half]} [...] {details[-half:]}"
