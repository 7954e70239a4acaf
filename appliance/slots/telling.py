"""What the selector tells systemd before the daemon takes its place: it is the service's main process till then."""

import os
import socket

_PATIENCE_US = 60_000_000


def tell_systemd(status: str) -> None:
    """Show what goes on, and ask for another minute. Nothing without systemd."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        address = name.replace("@", "\0", 1) if name.startswith("@") else name
        connection.sendto(f"STATUS={status}\nEXTEND_TIMEOUT_USEC={_PATIENCE_US}".encode(), address)
