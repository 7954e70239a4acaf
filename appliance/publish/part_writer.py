"""A file becomes parts of bounded size, each a blob, in one reading."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from appliance.bundle.oci_layers import ItemFile, Part
from appliance.durable import copy_hashed, disk_errors
from appliance.model.identity import digest_of_hex
from appliance.registry.blob_store import BlobStore
from appliance.registry.package_files import open_package_file
from appliance.registry.staging import StagingArea


class _OnePart(io.RawIOBase):
    """The next so many bytes of a stream, which are hashed for the whole file on their way."""

    def __init__(self, stream: BinaryIO, size_bytes: int, whole: "hashlib._Hash") -> None:
        self._stream = stream
        self._left = size_bytes
        self._whole = whole

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer will do
        view = memoryview(buffer)[: self._left]
        count: int = self._stream.readinto(view)  # type: ignore[attr-defined]  # typeshed: BinaryIO lacks readinto
        self._whole.update(view[:count])
        self._left -= count
        return count


def write_parts(
    path: Path, blobs: BlobStore, staging: StagingArea, part_bytes: int, advance: Callable[[int], None]
) -> ItemFile:
    """Store a file as blobs of at most `part_bytes`. Raises InvalidInput, Failed."""
    whole = hashlib.sha256()
    parts: list[Part] = []
    with disk_errors(f"copying {path}"), open_package_file(path) as stream, staging.workspace() as workspace:
        while True:
            staged = workspace / f"part-{len(parts)}"
            source = cast("BinaryIO", _OnePart(stream, part_bytes, whole))
            hex_digits, size_bytes = copy_hashed(source, staged, advance)
            if not size_bytes and parts:
                break
            parts.append(Part(digest_of_hex(hex_digits), size_bytes))
            blobs.publish(staged, parts[-1].digest)
            if size_bytes < part_bytes:
                break
        blobs.sync()
    size_bytes = sum(part.size_bytes for part in parts)
    return ItemFile(digest_of_hex(whole.hexdigest()), size_bytes, tuple(parts))
