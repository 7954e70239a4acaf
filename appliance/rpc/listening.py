"""Whether anybody answers still where this process listens.

gRPC gives up accepting for good when accept(2) fails for want of memory or of the machine's descriptors (ENOMEM,
ENOBUFS, ENFILE; with the process's own limit, EMFILE, it tries again), and goes on: who is connected is served, and
nobody else ever again. The socket may stay open, and clients wait in it. Asked here is the kernel, about the sockets
themselves: nothing is sent, and no address is called.
"""

import os
import select
import socket
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PATIENCE_S = 10.0  # a connection that nobody has accepted for so long


class _Listener(NamedTuple):
    """inode: tells whether the descriptor is still this socket's."""

    place: int | str  # port, or path of the socket's file
    descriptor: int
    inode: int


class _Waiting(NamedTuple):
    """Somebody waits to be accepted. connections: inodes of those that had been when it was first seen."""

    since_s: float
    connections: frozenset[int]


class ListeningSockets:
    """Those of this process at some addresses, as they are when this is made."""

    def __init__(self, addresses: Sequence[str], monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """addresses: `host:port` or `unix:/path`, bound; a name may have a socket for each of its addresses."""
        found = [_Listener(place, descriptor, inode) for place, descriptor, inode, listens in _sockets() if listens]
        self._listeners = {
            address: [listener for listener in found if listener.place == _place(address)] for address in addresses
        }
        self._waiting: dict[_Listener, _Waiting] = {}
        self._monotonic_s = monotonic_s

    def deaf(self) -> list[str]:
        """Return the addresses where nobody listens any more, or does not accept; to be asked every few seconds."""
        return [address for address, listeners in self._listeners.items() if any(map(self._is_deaf, listeners))]

    def _is_deaf(self, listener: _Listener) -> bool:
        if not _listens(listener):
            return True
        before = self._waiting.pop(listener, None)
        if not _somebody_waits(listener) or _is_full(listener):
            return False
        connections = frozenset(
            inode for place, _, inode, listens in _sockets() if place == listener.place and not listens
        )
        if before is None or connections - before.connections:  # nobody waited, or somebody was accepted since
            before = _Waiting(self._monotonic_s(), connections)
        self._waiting[listener] = before
        return self._monotonic_s() - before.since_s >= PATIENCE_S


def _place(address: str) -> int | str:
    return address.removeprefix("unix:") if address.startswith("unix:") else int(address.rpartition(":")[2])


def _sockets() -> Iterator[tuple[int | str, int, int, bool]]:
    """Yield of every socket: its port or path, descriptor, inode, and whether it listens."""
    for entry in Path("/proc/self/fd").iterdir():
        descriptor = int(entry.name)
        with suppress(OSError):  # closed meanwhile: the listing's own, for one
            status = os.fstat(descriptor)
            if stat.S_ISSOCK(status.st_mode):
                place, listens = _look_at(descriptor)
                yield place, descriptor, status.st_ino, listens


def _look_at(descriptor: int) -> tuple[int | str, bool]:
    """Return port or path of a socket, and whether it listens. Raises OSError if it is gone."""
    borrowed = socket.socket(fileno=descriptor)
    try:
        listens = bool(borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        name = borrowed.getsockname()
        if borrowed.family in (socket.AF_INET, socket.AF_INET6):
            return int(name[1]), listens
        return os.fsdecode(name) if borrowed.family == socket.AF_UNIX else "", listens
    finally:
        borrowed.detach()


def _listens(listener: _Listener) -> bool:
    with suppress(OSError):
        return os.fstat(listener.descriptor).st_ino == listener.inode and _look_at(listener.descriptor)[1]
    return False


def _somebody_waits(listener: _Listener) -> bool:
    poll = select.poll()
    poll.register(listener.descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _is_full(listener: _Listener) -> bool:
    """Whether this process may open nothing more: who listens then tries again once somebody has left."""
    try:
        os.close(os.dup(listener.descriptor))
    except OSError:
        return True
    return False
