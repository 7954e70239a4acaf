"""Which transport serves: the only place that knows all of them. Only the one chosen is imported.

The native one serves where its extension is installed, unless the settings say otherwise. An extension that is
installed and cannot be loaded ends the start under `auto` too: a box that serves a third of the requests of the day
before, and only its journal knows, would be a silent fallback.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from appliance.errors import InvalidInput
from appliance.rpc.call import Service
from appliance.rpc.transport import Transport
from appliance.settings import ServerSettings
from appliance.state_layout import StateLayout

EXTENSION = "appliance_native"
NATIVE, GRPCIO = "native", "grpcio"
NOT_INSTALLED = "the native transport is not installed"

_BUILD = "scripts/build-native --own-core (README: The native transport)"
_RELEASE = "install a software release that holds it (README: The native transport)"


@dataclass(frozen=True, slots=True)
class ChosenTransport:
    """A transport by its name, and what makes it. `missed`: why `auto` did not take the native one, '' if it did."""

    name: str
    make: Callable[[Sequence[Service], ServerSettings], Transport]
    missed: str = ""


def choose_transport(settings: ServerSettings, layout: StateLayout) -> ChosenTransport:
    """Return the transport that the settings ask for; `auto`: the native one if its extension is installed.

    Raises InvalidInput if the native one is asked for, or installed, and cannot be had: the start ends with 78 and
    the service stays down.
    """
    if takes_native(settings):
        return _native(settings, layout)
    from appliance.rpc.transport_grpcio import GrpcioTransport  # noqa: PLC0415  (never beside the native one)

    missed = f"{NOT_INSTALLED}: {how_to_get_native(layout)}" if settings.transport == "auto" else ""
    return ChosenTransport(GRPCIO, GrpcioTransport, missed)


def takes_native(settings: ServerSettings) -> bool:
    """Whether that would be the native one."""
    return settings.transport == NATIVE or (settings.transport == "auto" and is_installed())


def is_installed() -> bool:
    """Whether the native one is: looked for, not loaded."""
    return find_spec(EXTENSION) is not None


def how_to_get_native(layout: StateLayout) -> str:
    """Say where the native transport comes from: an installed box has no compiler, and none of our scripts."""
    return _RELEASE if layout.is_installed else _BUILD


def how_to_serve_again(layout: StateLayout) -> str:
    """Say what helps where the native transport cannot be had."""
    return f'{how_to_get_native(layout)}, or say: server.transport = "grpcio"'


def _native(settings: ServerSettings, layout: StateLayout) -> ChosenTransport:
    try:
        from appliance.rpc.native_io import NativeIo  # noqa: PLC0415  (never beside grpcio)
        from appliance.rpc.transport_native import NativeTransport  # noqa: PLC0415
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == EXTENSION
        reason = NOT_INSTALLED if absent else f"the native transport cannot be loaded: {error}"
        raise InvalidInput(f"server.transport: {reason}", hint=how_to_serve_again(layout)) from error
    return ChosenTransport(NATIVE, partial(NativeTransport, NativeIo(settings)))
