"""Whether the addresses of the settings are free while the daemon does not run, and who has them if not."""

import socket
from collections.abc import Sequence

import psutil

from appliance.cli.check import Check, Result

_NO_PROCESS = "another process (as root, doctor says which)"


def check_listening(addresses: Sequence[str], *, daemon_runs: bool) -> Check:
    """Try every TCP address; a daemon that runs has them itself."""
    if daemon_runs:
        return Check("addresses", Result.OK, "held by the daemon")
    taken = [(address, who_has(port)) for address in addresses if (port := _taken_port(address))]
    if taken:
        address, who = taken[0]
        finding = f"{address} is taken by {who}"
        return Check("addresses", Result.ERROR, finding, "end that, or set another server.listen in appliance.toml")
    return Check("addresses", Result.OK, "free")


def who_has(port: int) -> str:
    """Name the process that listens on a port."""
    try:
        connections = psutil.net_connections("tcp")
    except (psutil.AccessDenied, OSError):
        return _NO_PROCESS
    for each in connections:
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr[1] == port and each.pid is not None:
            try:
                return f"{psutil.Process(each.pid).name()} (process {each.pid})"
            except psutil.NoSuchProcess:
                continue
    return _NO_PROCESS


def _taken_port(address: str) -> int:
    """Return the port of a TCP address that cannot be had, 0 if it can or is another kind."""
    if address.startswith("unix:"):
        return 0
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return int(port)
    return 0
