"""The file of a backup: a line that names the form, one line of JSON that says who can open it, then the content.

The content is a tar archive, sealed (sealed_stream). Written and read once, from beginning to end, in flat memory.
Invariant: a file gets its name when all of it is on the disk; what is cut off leaves `<name>.tmp` at most, which is
never taken for a backup, and goes with the next attempt.
"""

import errno
import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, BinaryIO, ClassVar, Literal

from pydantic import Field

from appliance.bundle.signed_document import SignedDocument
from appliance.durable import disk_errors, fsync_directory
from appliance.errors import AlreadyExists, CannotWrite, InvalidInput
from appliance.maintenance.backup_lock import KEY_BYTES, Lock, Slot, Unlock, content_key
from appliance.maintenance.sealed_stream import CHUNK_BYTES, SealedReader, SealedWriter

FORM = b"appliance backup 1\n"
_LONGEST_LINE = 64 * 1024
_MODE = 0o600
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Opening(SignedDocument):
    title: ClassVar[str] = "the beginning of the backup"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    cipher: Literal["AES-256-GCM"] = "AES-256-GCM"
    slots: Annotated[tuple[Slot, ...], Field(min_length=1, max_length=16)]


@contextmanager
def new_container(target: Path, locks: Sequence[Lock]) -> Iterator[tarfile.TarFile]:
    """Lend an archive to fill. Raises AlreadyExists, Failed; any error leaves no file."""
    if os.path.lexists(target):
        raise AlreadyExists(f"{target} is there already", hint="name a file that is not there")
    partial = target.with_name(f"{target.name}.tmp")
    with disk_errors(f"writing {target}"):
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        try:
            with open(descriptor, "wb", buffering=0) as stream:  # noqa: PTH123  (a descriptor)
                with _archive_in(_Whole(stream, target), locks) as archive:
                    yield archive
                os.fsync(descriptor)
            os.replace(partial, target)  # noqa: PTH105  (counted by tests of crashes)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
        fsync_directory(target.parent)


@contextmanager
def opened_container(path: Path, unlock: Unlock) -> Iterator[tarfile.TarFile]:
    """Lend the archive in a backup, to be read once from the beginning; at the end, the rest is checked too.

    Raises InvalidInput: no backup, damaged, or not to be opened with this.
    """
    with disk_errors(f"reading {path}"), _opened(path) as stream:
        form = stream.read(len(FORM))
        line = stream.readline(_LONGEST_LINE)
        if form != FORM or not line.endswith(b"\n"):
            raise InvalidInput(f"{path} is no backup of an appliance", hint="name a file that appliance backup wrote")
        reader = SealedReader(stream, _key(path, form + line, unlock), str(path))
        try:
            with tarfile.open(fileobj=reader, mode="r|", bufsize=CHUNK_BYTES) as archive:  # type: ignore[call-overload]
                yield archive
            reader.drain()
        except tarfile.TarError as error:
            raise InvalidInput(f"{path} was opened, and holds no archive: {error}") from error


@contextmanager
def _archive_in(stream: "_Whole", locks: Sequence[Lock]) -> Iterator[tarfile.TarFile]:
    file_key = os.urandom(KEY_BYTES)
    opening = _Opening(slots=tuple(lock.lock(file_key) for lock in locks))
    beginning = FORM + opening.to_bytes() + b"\n"
    stream.write(beginning)
    writer = SealedWriter(stream, content_key(file_key, hashlib.sha256(beginning).digest()))  # type: ignore[arg-type]
    with tarfile.open(
        fileobj=writer,
        mode="w|",
        bufsize=CHUNK_BYTES,
        format=tarfile.GNU_FORMAT,  # type: ignore[call-overload]
    ) as archive:
        yield archive
    writer.finish()


class _Whole:
    """A raw file, each write of which is complete."""

    def __init__(self, stream: BinaryIO, target: Path) -> None:
        self._stream = stream
        self._target = target

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._stream.fileno(), left) :]
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                raise CannotWrite(
                    f"writing {self._target}: {error.strerror} after {self._stream.tell()} bytes",
                    hint="use a medium with more room; one with FAT takes files of 4 GiB at most: use exFAT or ext4",
                ) from error
        return len(data)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InvalidInput(
            f"{path} is not there, or no file", hint="name a file that appliance backup wrote"
        ) from error


def _key(path: Path, beginning: bytes, unlock: Unlock) -> bytes:
    opening = _Opening.parse(beginning[len(FORM) : -1])
    for slot in opening.slots:
        file_key = unlock.unlock(slot)
        if file_key is not None:
            return content_key(file_key, hashlib.sha256(beginning).digest())
    ways = ", ".join(sorted({slot.kind for slot in opening.slots}))
    raise InvalidInput(
        f"{path}: {unlock.missing}; it is locked with {ways}",
        hint="for scrypt give the passphrase, for x25519 the private key: --key FILE",
    )
