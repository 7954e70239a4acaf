"""Whether the addresses of the settings can be had while the daemon does not run, and what to do if not."""

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from appliance.cli.check import Check, Result

_NO_PROCESS = "another process (as root, doctor says which)"
_ANOTHER = "set another server.listen in appliance.toml"
_FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
_USUAL_FIRST_FREE_PORT = 1024
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Why an address cannot be had, and what to do about it."""

    finding: str
    remedy: str


def check_listening(addresses: Sequence[str], *, daemon_runs: bool, as_root: bool | None = None) -> Check:
    """Try every TCP address; a daemon that runs has them itself. as_root: whether the daemon would be root's."""
    if daemon_runs:
        return Check("addresses", Result.OK, "held by the daemon")
    privileged = os.geteuid() == 0 if as_root is None else as_root
    for address in addresses:
        if not address.startswith("unix:") and (found := why_unavailable(address, as_root=privileged)):
            return Check("addresses", Result.ERROR, found.finding, found.remedy)
    return Check("addresses", Result.OK, "free")


def why_unavailable(address: str, *, as_root: bool) -> Unavailable | None:
    """Say why `host:port` cannot be listened on, None if it can."""
    host, _, text = address.rpartition(":")
    host, port = host.strip("[]"), int(text)
    if not as_root and 0 < port < (first := _first_free_port()):
        return Unavailable(f"{address}: ports below {first} are for root only", f"{_ANOTHER}: a port from {first} on")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        finding = f"{address}: '{host}' is no name that this machine can resolve ({error.strerror})"
        return Unavailable(finding, f"write the address itself, or add the name to /etc/hosts; or {_ANOTHER}")
    refusals = [(where, _refusal(family, where)) for family, *_, where in found]
    taken = [where for where, error in refusals if error is not None and error.errno == errno.EADDRINUSE]
    if taken:
        finding = f"{address} is taken by {who_has(port, str(taken[0][0]))}"
        return Unavailable(finding, f"end that, or {_ANOTHER}")
    errors = [error for _, error in refusals if error is not None]
    return None if len(errors) < len(refusals) else _judged(address, host, errors[0])


def who_has(port: int, host: str = "::") -> str:
    """Name the process that listens on a port where it meets this numeric address."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.AccessDenied, OSError):
        return _NO_PROCESS
    for each in connections:
        if each.status != psutil.CONN_LISTEN or not each.laddr or each.laddr[1] != port or each.pid is None:
            continue
        if not _meet(host, each.laddr[0]):
            continue
        try:
            return f"{psutil.Process(each.pid).name()} (process {each.pid})"
        except psutil.NoSuchProcess:
            continue
    return _NO_PROCESS


def _meet(wanted: str, held: str) -> bool:
    """Whether two sockets on these addresses are in each other's way."""
    ours, theirs = _numeric(wanted), _numeric(held)
    return ours == theirs or ours.is_unspecified or theirs.is_unspecified


def _numeric(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])  # without the interface of a link-local one
    return getattr(address, "ipv4_mapped", None) or address


def _refusal(family: int, where: tuple[object, ...]) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen()  # two that were bound may not both listen
    except OSError as error:
        return error
    return None


def _judged(address: str, host: str, error: OSError) -> Unavailable:
    if error.errno in _NOT_HERE:
        finding = f"{address}: {host} is no address of this machine"
        return Unavailable(finding, f"see which it has: ip -brief address; {_ANOTHER}")
    return Unavailable(f"{address} cannot be had: {error.strerror}", _ANOTHER)


def _first_free_port() -> int:
    try:
        return int(_FIRST_FREE_PORT.read_text())
    except (OSError, ValueError):
        return _USUAL_FIRST_FREE_PORT
