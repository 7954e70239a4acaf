"""Which transport serves: the only place that knows all of them. Only the one chosen is imported."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

from appliance.errors import InvalidInput
from appliance.rpc.call import Service
from appliance.rpc.transport import Transport
from appliance.settings import ServerSettings

EXTENSION = "appliance_native"

MakeTransport = Callable[[Sequence[Service], ServerSettings], Transport]


def choose_transport(settings: ServerSettings) -> MakeTransport:
    """Return what makes the transport that the settings ask for.

    `auto`: the native one where its extension is installed, else grpcio's. Raises InvalidInput if the native one is
    asked for and cannot be had.
    """
    if takes_native(settings):
        return _native(settings)
    from appliance.rpc.transport_grpcio import GrpcioTransport  # noqa: PLC0415  (never beside the native one)

    return GrpcioTransport


def takes_native(settings: ServerSettings) -> bool:
    """Whether that would be the native one."""
    return settings.transport == "native" or (settings.transport == "auto" and find_spec(EXTENSION) is not None)


def _native(settings: ServerSettings) -> MakeTransport:
    try:
        from appliance.rpc.native_io import NativeIo  # noqa: PLC0415  (never beside grpcio)
        from appliance.rpc.transport_native import NativeTransport  # noqa: PLC0415
    except ImportError as error:
        raise InvalidInput(
            f"server.transport: the native transport cannot be loaded: {error}",
            hint='scripts/build-native, or say: server.transport = "grpcio"',
        ) from error
    return partial(NativeTransport, NativeIo(settings))
