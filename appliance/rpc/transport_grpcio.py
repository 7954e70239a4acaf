"""The transport on grpcio: the only module of the daemon that knows its types.

Methods are registered on raw bytes. A client that cancels, or whose deadline passes, cancels the method's coroutine.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import grpc

from appliance.rpc.call import Call, Parts, ServerStreamMethod, Service, StreamMethod, UnaryMethod, joined
from appliance.rpc.channel_arguments import channel_arguments
from appliance.rpc.outcome import outcome
from appliance.rpc.server_tls import read_tls
from appliance.rpc.transport import Endpoint, cannot_listen, say_goodbye
from appliance.rpc.unix_socket import remove_dead_socket
from appliance.settings import ServerSettings

_CODES = {code.value[0]: code for code in grpc.StatusCode}
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
    def certificate_names(self) -> tuple[str, ...]:
        """Whom the client's certificate names."""
        return tuple(name.decode() for name in self._context.peer_identities() or ())

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
            options=channel_arguments(settings), maximum_concurrent_rpcs=settings.max_concurrent_requests
        )
        self._tls = read_tls(settings)
        for service in services:
            self._server.add_generic_rpc_handlers((_handlers(service),))

    async def start(self, endpoints: Sequence[Endpoint]) -> list[str]:
        """Bind and accept; see Transport."""
        try:
            bound = [self._bind(endpoint) for endpoint in endpoints]
        except BaseException:
            await self._server.stop(0)
            raise
        await self._server.start()
        return bound

    async def stop(self, grace_s: float, refuse: Callable[[], None] = lambda: None) -> None:
        """End; see Transport."""
        await say_goodbye(partial(self._server.stop, grace_s), grace_s, refuse)

    def _bind(self, endpoint: Endpoint) -> str:
        if endpoint.socket is not None:
            remove_dead_socket(endpoint.socket)
        try:
            return endpoint.opened(self._add_port(endpoint))
        except RuntimeError as error:
            raise cannot_listen(endpoint) from error

    def _add_port(self, endpoint: Endpoint) -> int:
        if self._tls is None or endpoint.socket is not None:
            return self._server.add_insecure_port(endpoint.address)
        tls = self._tls
        pair = (tls.key, tls.certificate_chain)
        credentials = grpc.ssl_server_credentials(
            [pair], tls.client_authorities or None, require_client_auth=bool(tls.client_authorities)
        )
        return self._server.add_secure_port(endpoint.address, credentials)


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
    if isinstance(error, grpc.aio.AbortError):
        raise error
    code, details = outcome(error)
    await context.abort(_CODES[code], details)
