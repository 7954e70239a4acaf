"""Whether a daemon could start with the settings that a bundle has just put in force: asked before the bundle stays.

Only what would end a start is tried, and no name is looked up. An address in use may be this daemon's own.
"""

import errno
import socket
from collections.abc import Callable, Collection
from pathlib import Path

from appliance.errors import Failed, InvalidInput
from appliance.rpc.native_trial import native_core_version
from appliance.rpc.server_tls import read_tls
from appliance.rpc.transport_choice import NOT_INSTALLED, is_installed, takes_native
from appliance.settings import ServerSettings, Settings

_LOCAL_NAMES = ("localhost", "ip6-localhost")


def settings_problem(read_settings: Callable[[], Settings], listening_now: Collection[str]) -> str:
    """Say why the next start would fail, '' if it would not. `listening_now`: addresses as settings write them.

    An operator's file that cannot be read is no fault of the bundle: ''.
    """
    try:
        server = read_settings().server
    except InvalidInput:
        return ""
    problems = [_cannot_listen(address) for address in server.listen if address not in listening_now]
    problems.append(_cannot_serve(server))
    try:
        read_tls(server)
    except InvalidInput as error:
        problems.append(error.message)
    return "; ".join(problem for problem in problems if problem)


def _cannot_serve(server: ServerSettings) -> str:
    if not takes_native(server):
        return ""
    if not is_installed():
        return f"server.transport: {NOT_INSTALLED}"
    try:
        native_core_version()
    except Failed as error:
        return f"server.transport: {error.message}"
    return ""


def _cannot_listen(address: str) -> str:
    if address.startswith("unix:"):
        directory = Path(address.removeprefix("unix:")).parent
        return "" if directory.is_dir() else f"server.listen: {address}: there is no directory {directory}"
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host in _LOCAL_NAMES:
        return ""
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return f"server.listen: {address}: '{host}' is no address of this box"
    family, kind, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as probe:
        try:
            probe.bind(where)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return f"server.listen: {address}: {error.strerror}"
    return ""
