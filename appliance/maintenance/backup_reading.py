"""Reading a backup, wherever it is from: every name, link and size is checked before anything comes of it."""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from appliance.errors import InvalidInput
from appliance.maintenance.backup_container import opened_container
from appliance.maintenance.backup_lock import Unlock
from appliance.maintenance.backup_manifest import (
    BLOB,
    LARGEST_MANIFEST_BYTES,
    MANIFEST,
    BackupManifest,
    require_known_link,
    require_known_name,
)

Advance = Callable[[str, int, int], None]
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One file in a backup. `stream` must be read, or left, before the next is asked for."""

    name: str
    size_bytes: int
    stream: BinaryIO


@dataclass(frozen=True, slots=True)
class BackupLink:
    """One symbolic link in a backup."""

    name: str
    target: str


class OpenBackup:
    """A backup that was opened: its description, and once, in order, what it holds."""

    def __init__(self, archive: tarfile.TarFile, path: Path) -> None:
        self._archive = archive
        self._path = path
        self._left = LARGEST_MANIFEST_BYTES
        self.manifest = self._read_manifest()

    def entries(self) -> Iterator[BackupFile | BackupLink]:
        """Yield everything. Raises InvalidInput if it is not what the description says."""
        files, size_bytes, seen = 0, 0, {MANIFEST}
        while (member := self._archive.next()) is not None:
            if member.name in seen:
                raise self._wrong(f"it holds {member.name[:200]!r} twice")
            seen.add(member.name)
            require_known_name(member.name)
            if member.type == tarfile.SYMTYPE:
                require_known_link(member.name, member.linkname)
                yield BackupLink(member.name, member.linkname)
                continue
            files, size_bytes = files + 1, size_bytes + member.size
            if size_bytes > self.manifest.size_bytes:
                raise self._wrong(f"it holds more than the {self.manifest.size_bytes} bytes that it announces")
            yield BackupFile(member.name, member.size, self._stream(member))
        if (files, size_bytes) != (self.manifest.files, self.manifest.size_bytes):
            raise self._wrong(
                f"it holds {files} files with {size_bytes} bytes, expected {self.manifest.files} with "
                f"{self.manifest.size_bytes}"
            )

    def _read_manifest(self) -> BackupManifest:
        member = self._archive.next()
        if member is None or member.name != MANIFEST or member.size > LARGEST_MANIFEST_BYTES:
            raise self._wrong(f"it does not begin with {MANIFEST}")
        return BackupManifest.parse(self._stream(member).read())

    def _stream(self, member: tarfile.TarInfo) -> BinaryIO:
        stream = self._archive.extractfile(member) if member.type == tarfile.REGTYPE else None
        if stream is None:
            raise self._wrong(f"{member.name[:200]!r} is neither a file nor a link")
        return cast("BinaryIO", stream)

    def _wrong(self, problem: str) -> InvalidInput:
        return InvalidInput(f"{self._path} was opened, but {problem}", hint="take another backup")


@contextmanager
def opened_backup(path: Path, unlock: Unlock) -> Iterator[OpenBackup]:
    """Open a backup. Raises InvalidInput, also at the end, if the file is cut off there."""
    with opened_container(path, unlock) as archive:
        yield OpenBackup(archive, path)


def verify_backup(path: Path, unlock: Unlock, advance: Advance) -> BackupManifest:
    """Read a backup from beginning to end and check every byte of it; nothing is written. Raises InvalidInput."""
    with opened_backup(path, unlock) as backup:
        done, total = 0, backup.manifest.size_bytes
        for entry in backup.entries():
            if isinstance(entry, BackupFile):
                _verify(entry)
                done += entry.size_bytes
                advance(f"checking {entry.name}", done, total)
    return backup.manifest


def _verify(entry: BackupFile) -> None:
    digest = hashlib.sha256()
    while piece := entry.stream.read(_PIECE_BYTES):
        digest.update(piece)
    require_content(entry.name, digest.hexdigest())


def require_content(name: str, sha256_hex: str) -> None:
    """Content of models is named by its digest. Raises InvalidInput."""
    named = BLOB.fullmatch(name)
    if named and named[1] != sha256_hex:
        raise InvalidInput(
            f"the backup's {name} has the digest {sha256_hex}",
            hint="it was not written by an appliance; take another",
        )
