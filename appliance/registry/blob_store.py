"""Content-addressed files: `sha256/<hex>`, named as in an OCI image layout.

Invariants: a blob's name is the SHA-256 of its content; a name appears only when all of its content is on the disk;
blobs are never written to. Whoever makes a reference to blobs durable holds `shared()` meanwhile; whoever deletes
what nothing refers to holds `alone()`.
"""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from appliance.durable import (
    Advance,
    copy_hashed,
    disk_errors,
    exclusive_lock,
    fsync_directory,
    hash_file,
    ignore_advance,
    make_directory,
    shared_lock,
)
from appliance.errors import Failed, InvalidInput, NotFound
from appliance.model.identity import Digest, digest_hex, digest_of_hex
from appliance.registry.package_files import open_package_file
from appliance.registry.staging import StagingArea

BRING_AGAIN = "bring it again: appliance models add DIR, or on a sealed box: appliance update apply MEDIUM"


class BlobStore:
    """The `blobs/` directory of one state directory."""

    def __init__(self, directory: Path, staging: StagingArea) -> None:
        """`staging` must be on the same file system: blobs get their names by hard links."""
        self._directory = directory / "sha256"
        self._staging = staging

    def open_store(self) -> None:
        """Create what is missing and remove what crashed processes left half-written."""
        self._staging.open()
        with disk_errors("opening the blob store"):
            make_directory(self._directory)

    def path(self, digest: Digest) -> Path:
        """Return where a blob is, or would be."""
        return self._directory / digest_hex(digest)

    def open(self, digest: Digest) -> BinaryIO:
        """Open a blob for reading. Raises NotFound."""
        try:
            return self.path(digest).open("rb")
        except FileNotFoundError:
            raise NotFound(f"there is no content {digest}", hint="appliance models verify") from None

    def digests(self) -> Iterator[Digest]:
        """Yield the name of every blob."""
        for entry in sorted(self._directory.iterdir()):
            try:
                yield digest_of_hex(entry.name)
            except InvalidInput:
                continue  # not ours

    def add_file(self, path: Path, advance: Advance = ignore_advance) -> Digest:
        """Store a copy of a file under the digest of what was copied. Raises InvalidInput, Failed."""
        with disk_errors(f"storing {path}"), self._staging.workspace() as workspace:
            with open_package_file(path) as stream:
                hex_digits, _ = copy_hashed(stream, workspace / "content", advance)
            digest = digest_of_hex(hex_digits)
            self.publish(workspace / "content", digest)
            self.sync()
        return digest

    def put(self, data: bytes) -> Digest:
        """Store small content that is at hand; what is there is kept only if it is whole. Raises Failed."""
        digest = digest_of_hex(hashlib.sha256(data).hexdigest())
        with disk_errors(f"storing {digest}"), self._staging.workspace() as workspace:
            copy_hashed(io.BytesIO(data), workspace / "content")
            self.publish(workspace / "content", digest)
            self.sync()
        return digest

    def publish(self, staged: Path, digest: Digest) -> bool:
        """Give a durable file its name as a blob; whether that name is new. `sync` makes it durable.

        What is there already is hashed before it is trusted again; where its content has rotted it is replaced.
        """
        target = self.path(digest)
        try:
            os.link(staged, target)
        except FileExistsError:
            if hash_file(target) != digest_hex(digest):
                staged.replace(target)
            return False
        return True

    def sync(self) -> None:
        """Make the names of published blobs durable."""
        fsync_directory(self._directory)

    def verify(self, digest: Digest, advance: Advance = ignore_advance) -> None:
        """Hash a blob. Raises NotFound, or Failed if the content is not what the name says."""
        if not self.path(digest).is_file():
            raise NotFound(f"there is no content {digest}", hint=BRING_AGAIN)
        with disk_errors(f"reading {digest}"):
            found = digest_of_hex(hash_file(self.path(digest), advance))
        if found != digest:
            raise Failed(f"content is {found}, expected {digest}", hint=BRING_AGAIN)

    def delete(self, digest: Digest) -> int:
        """Remove a blob (0 if it is not there) and return its size in bytes. `sync` makes it durable."""
        path = self.path(digest)
        try:
            size_bytes = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
        return size_bytes

    def shared(self) -> AbstractContextManager[None]:
        """Keep every blob from being collected as garbage meanwhile."""
        return shared_lock(self._directory)

    def alone(self) -> AbstractContextManager[None]:
        """Keep everybody else from referring to blobs meanwhile."""
        return exclusive_lock(self._directory)
