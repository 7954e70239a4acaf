"""Content that comes in parts becomes one blob, in one pass: each byte read once from its source and written once.

A file grows in `partial`, part by part. What was cut off goes on where it stopped: complete parts are hashed again on
this disk, which is quicker than a stick. Nothing is a blob before its whole content has the digest that is its name,
and is on the disk.

Ownership: reading ahead is `open_part`'s business; here the caller's thread hashes parts and writes, one thread
hashes the whole file, one keeps the disk busy. All end with `assemble`.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self

from appliance.bundle.oci_layers import Part
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import (
    CHUNK_BYTES,
    READ_ONLY,
    Advance,
    disk_errors,
    fsync_directory,
    hash_file,
    make_directory,
)
from appliance.model.identity import Digest, digest_hex, digest_of_hex
from appliance.registry.blob_store import BlobStore

_FLUSH_BYTES = 32 * 1024 * 1024  # so that little is left to wait for at the end

OpenPart = Callable[[Part], Iterator[memoryview]]  # the chunks of a part; each is overwritten by the next


def assemble(
    digest: Digest,
    parts: Sequence[Part],
    open_part: OpenPart,
    partial: Path,
    blobs: BlobStore,
    advance: Advance,
) -> None:
    """Make a blob of parts. One that is there already is hashed before it is trusted.

    `partial`: where incomplete files lie, on the blobs' file system. Raises UpdateRefused (HASH_MISMATCH, and what
    `open_part` raises) and Failed (the disk).
    """
    path = partial / digest_hex(digest)
    with disk_errors(f"staging {digest}"):
        make_directory(partial)
        if not _is_there(digest, blobs):
            _Assembly(digest, parts, path).run(open_part, advance)
            with blobs.shared():
                blobs.publish(path, digest)
        blobs.sync()  # what is there may have got its name just before a cut
        if path.exists():
            path.unlink()
            fsync_directory(partial)


def _is_there(digest: Digest, blobs: BlobStore) -> bool:
    """Whether the blob is there, whole."""
    with blobs.shared():  # a garbage collection that had not seen the open update's journal is over
        return blobs.path(digest).exists() and hash_file(blobs.path(digest)) == digest_hex(digest)


def forget_partial(partial: Path, keep: Collection[Digest] = ()) -> None:
    """Remove incomplete files that no open update wants any more."""
    if not partial.is_dir():
        return
    kept = {digest_hex(digest) for digest in keep}
    with disk_errors("cleaning up incomplete files"):
        for path in list(partial.iterdir()):
            if path.name not in kept:
                path.unlink()
        fsync_directory(partial)


class _Assembly:
    """One file that grows."""

    def __init__(self, digest: Digest, parts: Sequence[Part], path: Path) -> None:
        self._digest = digest
        self._parts = parts
        self._path = path
        self._whole = hashlib.sha256()

    def run(self, open_part: OpenPart, advance: Advance) -> None:
        self._make_writable()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fsync_directory(self._path.parent)
            done = self._resume(descriptor, advance)
            with ThreadPoolExecutor(1, "whole-file-hash") as hasher, _Flusher(descriptor) as flusher:
                for number, part in enumerate(self._parts[done:], start=done + 1):
                    self._append(flusher, part, number, open_part, advance, hasher)
            found = digest_of_hex(self._whole.hexdigest())
            if found != self._digest:
                os.ftruncate(descriptor, 0)
                raise _mismatch(f"the parts of {self._digest}", found, self._digest, self._digest)
            os.fchmod(descriptor, READ_ONLY)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _make_writable(self) -> None:
        """A file that was whole is read-only. One that became a blob is never written to: it begins anew."""
        if not self._path.exists():
            return
        if self._path.lstat().st_nlink > 1:
            self._path.unlink()
        else:
            self._path.chmod(0o600)

    def _resume(self, descriptor: int, advance: Advance) -> int:
        """Count the parts that are here, whole; what follows them is cut off."""
        done = 0
        for part in self._parts:
            chunks = list(_sizes(part.size_bytes))
            digest, whole = hashlib.sha256(), self._whole.copy()
            for size in chunks:
                data = os.read(descriptor, size)
                digest.update(data)
                whole.update(data)
            if digest.hexdigest() != digest_hex(part.digest):
                break
            self._whole = whole
            done += 1
            advance(part.size_bytes)
        end = sum(part.size_bytes for part in self._parts[:done])
        os.ftruncate(descriptor, end)
        os.lseek(descriptor, end, os.SEEK_SET)
        return done

    def _append(
        self,
        file: "_Flusher",
        part: Part,
        number: int,
        open_part: OpenPart,
        advance: Advance,
        hasher: ThreadPoolExecutor,
    ) -> None:
        digest, size_bytes = hashlib.sha256(), 0
        single = len(self._parts) == 1
        for chunk in open_part(part):
            size_bytes += len(chunk)
            if size_bytes > part.size_bytes:
                break
            other: Future[None] | None = None if single else hasher.submit(self._whole.update, chunk)
            digest.update(chunk)
            file.write(chunk)
            if other is not None:
                other.result()
            advance(len(chunk))
        if size_bytes != part.size_bytes or digest.hexdigest() != digest_hex(part.digest):
            raise self._bad_part(part, number, size_bytes, digest_of_hex(digest.hexdigest()))
        if single:
            self._whole = digest

    def _bad_part(self, part: Part, number: int, size_bytes: int, found: Digest) -> UpdateRefused:
        what = f"part {number} of {len(self._parts)} of {self._digest}"
        if size_bytes != part.size_bytes:
            more = "more than" if size_bytes > part.size_bytes else f"{size_bytes} of"
            return UpdateRefused(
                Refusal.HASH_MISMATCH,
                f"{what} has {more} {part.size_bytes} bytes",
                hint="copy the bundle to the stick again, or use another stick",
                facts={"file": self._digest, "part": part.digest, "size": size_bytes, "expected": part.size_bytes},
            )
        return _mismatch(what, found, part.digest, self._digest)


class _Flusher:
    """Writes, and meanwhile has what was written put on the disk, so that stick and disk work side by side."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unflushed_bytes = 0
        self._thread = ThreadPoolExecutor(1, "flusher")
        self._flush: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown()
        if kind is None and self._flush is not None:
            self._flush.result()  # the kernel tells an error of the disk once: a later fsync would know nothing of it

    def write(self, chunk: memoryview) -> None:
        """Append to the file. Raises OSError, also for what an earlier flush met."""
        self._unflushed_bytes += len(chunk)
        while chunk:
            chunk = chunk[os.write(self._descriptor, chunk) :]
        if self._unflushed_bytes >= _FLUSH_BYTES and (self._flush is None or self._flush.done()):
            if self._flush is not None:
                self._flush.result()
            self._flush = self._thread.submit(os.fdatasync, self._descriptor)
            self._unflushed_bytes = 0


def _mismatch(what: str, found: Digest, expected: Digest, file: Digest) -> UpdateRefused:
    return UpdateRefused(
        Refusal.HASH_MISMATCH,
        f"the content of {what} is {found}, expected {expected}",
        hint="copy the bundle to the stick again, or use another stick",
        facts={"file": file, "found": found, "expected": expected},
    )


def _sizes(size_bytes: int) -> Iterator[int]:
    for start in range(0, size_bytes, CHUNK_BYTES):
        yield min(CHUNK_BYTES, size_bytes - start)
