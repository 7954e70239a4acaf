"""How engines lie on the disk: read with their digest, written for good, refusals of the disk in words.

An engine is read into memory of our own while its digest is computed: whoever changes the file afterwards changes
nothing, and a file that shrinks ends no process.
"""

import errno
import hashlib
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import Failed

READ_ONLY = 0o444
PRUNE = "appliance engines prune --largest-bytes 0"
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CHUNK_BYTES = 4 * 1024 * 1024


class Untrusted(Exception):
    """A file is not what was recorded; the text says how."""


def read_verified(path: Path, digest: str, size_bytes: int) -> mmap.mmap:
    """Return a file's content in memory of this process; the caller closes it.

    Raises Untrusted unless it is a regular file of just this size and digest, FileNotFoundError if it is not there.
    """
    descriptor = _open_regular(path)
    try:
        found_bytes = os.fstat(descriptor).st_size
        if found_bytes != size_bytes or not size_bytes:
            raise Untrusted(f"it has {found_bytes} bytes, expected {size_bytes}")
        data = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        try:
            found = _fill(data, descriptor)
            if found != digest:
                raise Untrusted(f"its content is {found}, expected {digest}")  # noqa: TRY301  (data is closed below)
        except BaseException:
            data.close()
            raise
    finally:
        os.close(descriptor)
    return data


def digest_of(path: Path) -> str:
    """Return "sha256:..." of a regular file. Raises Untrusted if it is none, OSError."""
    descriptor = _open_regular(path)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def seal(path: Path) -> None:
    """Make a finished file durable and read-only."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, READ_ONLY)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Make names that were added, changed or removed in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_durable_directory(directory: Path) -> None:
    """Create a directory and its parents, durably, where they are missing."""
    if directory.is_dir():
        return
    make_durable_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_directory(directory.parent)


@contextmanager
def disk_refusals(doing: str) -> Iterator[None]:
    """Turn the operating system's refusals into Failed, with what was being done and the remedy."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise Failed(f"{doing}: {error.strerror}{where}", hint=_hint(error.errno)) from error


def _hint(number: int | None) -> str:
    if number in _NO_SPACE:
        return f"make room, for example: {PRUNE}"
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "the directory of the engines must be writable for this user"
    return "the disk may be failing: journalctl -k" if number == errno.EIO else ""


def _open_regular(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Untrusted("it is a symbolic link") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Untrusted("it is not a regular file")
    return descriptor


def _fill(data: mmap.mmap, descriptor: int) -> str:
    """Read a file into `data` and return the digest of what `data` then holds."""
    digest = hashlib.sha256()
    with memoryview(data) as whole:
        done = 0
        while done < len(whole):
            with whole[done : done + _CHUNK_BYTES] as chunk:
                count = os.preadv(descriptor, [chunk], done)
                if not count:
                    raise Untrusted(f"it ends after {done} bytes, expected {len(whole)}")
                digest.update(chunk[:count])
            done += count
    return f"sha256:{digest.hexdigest()}"
