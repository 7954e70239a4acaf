"""What reaches the disk for good, and who may touch it meanwhile: hashing copies, fsync, locks, disk errors in words.

A file is written under a private name, made read-only and fsynced before it gets its real name; the directory is
fsynced after. Locks are flocks on the directories themselves: they leave no files and die with their process.
"""

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from appliance.errors import CannotWrite, Failed

CHUNK_BYTES = 4 * 1024 * 1024
READ_ONLY = 0o444
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_LOOK_EVERY_S = 0.05
_NO_FSYNC = frozenset({errno.EINVAL, errno.ENOTSUP})  # of directories

Advance = Callable[[int], None]  # so many more bytes are done


def ignore_advance(_: int) -> None:
    """The Advance of a caller who does not want to know."""


def is_lack_of_room(error: BaseException) -> bool:
    """Whether an error that `disk_errors` made says that the disk, or the owner's share of it, is full."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_SPACE


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Turn the operating system's refusals into Failed, with what was being done and the remedy."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        kind = CannotWrite if error.errno in _NO_SPACE | _NOT_OURS else Failed
        raise kind(f"{doing}: {error.strerror}{where}", hint=_disk_hint(error.errno)) from error


def copy_hashed(
    source: BinaryIO, destination: Path, advance: Advance = ignore_advance, mode: int | None = READ_ONLY
) -> tuple[str, int]:
    """Copy a stream into a new file, durably. Returns the SHA-256 in hex and the size in bytes.

    `mode` None leaves the permissions to the file system (FAT, as on most sticks, refuses to be told).
    """
    descriptor = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        digest, size_bytes = hashlib.sha256(), 0
        for chunk in _chunks(source):
            digest.update(chunk)
            _write_all(descriptor, chunk)
            size_bytes += len(chunk)
            advance(len(chunk))
        if mode is not None:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.hexdigest(), size_bytes


def write_file(path: Path, data: bytes, mode: int | None) -> None:
    """Put a file in the place of another, durably: whoever reads finds all of the one or all of the other.

    `mode` as in `copy_hashed`; nobody else may read the content at any moment. An error leaves nothing half-written.
    """
    partial = path.with_name(f"{path.name}.tmp")
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(partial, flags, 0o644 if mode is None else mode)
    try:
        try:
            _write_all(descriptor, memoryview(data))
            if mode is not None and mode & ~os.fstat(descriptor).st_mode:  # what the umask took; FAT takes nothing
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, path)  # noqa: PTH105  (counted by tests of crashes)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
    fsync_directory(path.parent)


def hash_file(path: Path, advance: Advance = ignore_advance) -> str:
    """Return the SHA-256 of a file's content in hex. Holds the interpreter only between chunks."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        for chunk in _chunks(stream):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def fsync_directory(directory: Path) -> None:
    """Make names that were added, changed or removed in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync_names(descriptor)
    finally:
        os.close(descriptor)


def fsync_names(directory: int) -> None:
    """Do the same for an open directory. Some file systems of sticks cannot, which is no error."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def make_directory(directory: Path) -> None:
    """Create a directory and its parents, durably, where they are missing."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    fsync_directory(directory.parent)


@contextmanager
def shared_lock(directory: Path) -> Iterator[None]:
    """Hold a directory together with others who share it; waits while one holds it alone."""
    with _locked(directory, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive_lock(directory: Path) -> Iterator[None]:
    """Hold a directory alone; waits until all others let go."""
    with _locked(directory, fcntl.LOCK_EX):
        yield


def lock_within(descriptor: int, patience_s: float) -> bool:
    """Lock alone what a descriptor leads to, till that is closed; False if others held it for all of that time."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                return False
            time.sleep(_LOOK_EVERY_S)
        else:
            return True


def try_exclusive_lock(directory: Path) -> int | None:
    """Lock a directory and return the descriptor whose closing unlocks it; None if it is held or gone."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def _locked(directory: Path, operation: int) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def _chunks(stream: BinaryIO) -> Iterator[memoryview]:
    """Yield the stream piece by piece in one buffer, which the next piece overwrites."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]  # typeshed: BinaryIO lacks readinto
        yield buffer[:count]


def _write_all(descriptor: int, chunk: memoryview) -> None:
    while chunk:
        chunk = chunk[os.write(descriptor, chunk) :]


def _disk_hint(number: int | None) -> str:
    if number in _NO_SPACE:
        return "make room: remove versions that nobody needs with appliance models remove, then appliance models gc"
    if number in _NOT_OURS:
        return "the state directory must be writable, on a file system with hard links (ext4, xfs, btrfs)"
    return "the disk may be failing: journalctl -k" if number == errno.EIO else ""
