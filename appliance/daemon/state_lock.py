"""One daemon per state directory, and a state that is whole before it is used."""

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.daemon.state_exchange import StateExchange
from appliance.errors import Busy, CannotWrite, Failed, StateUnusable
from appliance.state_layout import LONGEST_SOCKET_PATH_BYTES, StateLayout

logger = logging.getLogger(__name__)

ERASURE_RECORD = "erasure.json"  # in the state directory: its data are being destroyed


@contextmanager
def daemon_lock(layout: StateLayout) -> Iterator[None]:
    """Hold the daemon's lock on a state that is whole: a restore or reset that was cut off is finished first.

    Raises Busy if another daemon has it, Failed if the directories cannot be made, StateUnusable if the state is
    being erased.
    """
    with state_lock(layout):
        if os.path.lexists(layout.root / ERASURE_RECORD):
            raise StateUnusable(
                f"the erasure of {layout.root} was begun and has not ended",
                hint="finish it: appliance wipe --certificate FILE",
            )
        finished = StateExchange(layout.root).finish()
        if finished:
            logger.warning("a %s that was cut off has been finished", finished)
        yield


@contextmanager
def state_lock(layout: StateLayout) -> Iterator[None]:
    """Hold the daemon's lock whatever the state is in. Raises as `daemon_lock`, but never StateUnusable."""
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
        layout.runtime.mkdir(parents=True, exist_ok=True, mode=0o755)
        _require_writable(layout)
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotWrite(
            f"cannot use state directory {layout.root}: {error.strerror}: {error.filename}",
            hint="name a writable one: appliance serve --state DIR",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_socket_path(layout)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    except BlockingIOError as error:
        owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
        raise Busy(
            f"another appliance (process {owner}) serves the state directory {layout.root}",
            hint="look at it with: appliance status, or choose another: appliance serve --state DIR",
        ) from error
    finally:
        os.close(descriptor)


def _require_writable(layout: StateLayout) -> None:
    """Refuse a disk that has become read-only: no load could be written down, so that nothing would be served."""
    if os.statvfs(layout.root).f_flag & os.ST_RDONLY:
        raise CannotWrite(
            f"cannot use state directory {layout.root}: {os.strerror(errno.EROFS)}",
            hint="see why: journalctl -k | grep -i -e 'i/o error' -e remount; "
            f"then: mount -o remount,rw {layout.root}, and start again",
        )


def _check_socket_path(layout: StateLayout) -> None:
    length = len(os.fsencode(layout.admin_socket))
    if length > LONGEST_SOCKET_PATH_BYTES:
        raise Failed(
            f"the path of the Unix socket {layout.admin_socket} has {length} bytes, "
            f"at most {LONGEST_SOCKET_PATH_BYTES} work",
            hint="set runtime_directory to a shorter path in appliance.toml",
        )
