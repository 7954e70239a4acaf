"""Whether anybody answers still where this process listens.

gRPC gives up accepting for good when accept(2) fails, for want of memory or of the machine's descriptors for instance
(ENOMEM, ENOBUFS, ENFILE; with the process's own limit, EMFILE, it tries again), and goes on: who is connected is
served, and nobody else ever again. The socket may stay open, and clients wait in it. Asked here is the kernel, about
the sockets themselves: nothing is sent, and no address is called.
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

PERIOD_S = 2.0  # how often to ask
PATIENCE_S = 10.0  # a connection that nobody has accepted for so long
_FORGOTTEN_S = 3 * PERIOD_S  # nobody has looked for so long: what was seen before says nothing
_LOOKS, _BETWEEN_LOOKS_S = 50, 0.01  # a queue that somebody takes from is empty once in a while
_ANY_HOST = ("0.0.0.0", "::")  # noqa: S104  (to compare with)


class _Socket(NamedTuple):
    """place: port, or path of the socket's file. inode: tells whether the descriptor is still this socket's."""

    place: int | str
    host: str
    descriptor: int
    inode: int
    listens: bool

    def accepted(self, other: "_Socket") -> bool:
        """Whether another one has come from this one that listens."""
        return not other.listens and self.place == other.place and self.host in (*_ANY_HOST, other.host)


class _Waiting(NamedTuple):
    """Somebody waits to be accepted. connections: inodes of those that had been when it was first seen."""

    since_s: float
    seen_s: float
    connections: frozenset[int]


class ListeningSockets:
    """Those of this process at some addresses, as they are when this is made."""

    def __init__(self, addresses: Sequence[str], monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """addresses: `host:port` or `unix:/path`, bound; a name may have a socket for each of its addresses."""
        found = [each for each in _sockets() if each.listens]
        self._listeners = {
            address: [listener for listener in found if listener.place == _place(address)] for address in addresses
        }
        self._waiting: dict[_Socket, _Waiting] = {}
        self._monotonic_s = monotonic_s

    def deaf(self) -> list[str]:
        """Return the addresses where nobody listens any more, or does not accept; to be asked every `PERIOD_S`.

        Takes half a second before it says so. Raises OSError if the kernel does not tell.
        """
        return [address for address, listeners in self._listeners.items() if any(map(self._is_deaf, listeners))]

    def _is_deaf(self, listener: _Socket) -> bool:
        if not _listens(listener):
            return True
        if not _somebody_waits(listener) or _is_full(listener):
            self._waiting.pop(listener, None)
            return False
        connections = frozenset(each.inode for each in _sockets() if listener.accepted(each))
        now_s = self._monotonic_s()
        before = self._waiting.get(listener)
        if before is None or now_s - before.seen_s > _FORGOTTEN_S or connections - before.connections:
            before = _Waiting(now_s, now_s, connections)
        self._waiting[listener] = before._replace(seen_s=now_s)
        return now_s - before.since_s >= PATIENCE_S and _somebody_always_waits(listener)


def _place(address: str) -> int | str:
    return address.removeprefix("unix:") if address.startswith("unix:") else int(address.rpartition(":")[2])


def _sockets() -> Iterator[_Socket]:
    for entry in Path("/proc/self/fd").iterdir():
        descriptor = int(entry.name)
        with suppress(OSError):  # closed meanwhile: the listing's own, for one
            status = os.fstat(descriptor)
            if stat.S_ISSOCK(status.st_mode):
                yield _look_at(descriptor, status.st_ino)


def _look_at(descriptor: int, inode: int) -> _Socket:
    """Raises OSError if it is gone."""
    borrowed = socket.socket(fileno=descriptor)
    try:
        listens = bool(borrowed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        name = borrowed.getsockname()
        if borrowed.family in (socket.AF_INET, socket.AF_INET6):
            return _Socket(int(name[1]), name[0], descriptor, inode, listens)
        return _Socket(os.fsdecode(name) if borrowed.family == socket.AF_UNIX else "", "", descriptor, inode, listens)
    finally:
        borrowed.detach()


def _listens(listener: _Socket) -> bool:
    with suppress(OSError):
        inode = os.fstat(listener.descriptor).st_ino
        return inode == listener.inode and _look_at(listener.descriptor, inode).listens
    return False


def _somebody_waits(listener: _Socket) -> bool:
    poll = select.poll()
    poll.register(listener.descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _somebody_always_waits(listener: _Socket) -> bool:
    for _ in range(_LOOKS):
        if not _somebody_waits(listener):
            return False
        time.sleep(_BETWEEN_LOOKS_S)
    return True


def _is_full(listener: _Socket) -> bool:
    """Whether this process may open nothing more: who listens then tries again once somebody has left."""
    try:
        os.close(os.dup(listener.descriptor))
    except OSError:
        return True
    return False
