"""Writing a bundle where it is to lie: whole or not at all, every file on the disk before it gets its name.

Until then it lies under a name with a dot in front, which boxes do not look at. Works on FAT: no links, no
permissions, no names that differ only in case.
"""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.content_item import ContentItem
from appliance.bundle.layout import (
    BLOBS_DIRECTORY,
    BUNDLE_DIRECTORY,
    HINT_FILE,
    METADATA_DIRECTORY,
    OCI_DIRECTORY,
    TARGETS_DIRECTORY,
    hashed_target,
)
from appliance.bundle.oci_layers import MANIFEST_TYPE, digest_of_bytes
from appliance.durable import copy_hashed, disk_errors, fsync_directory
from appliance.errors import AlreadyExists, Failed, InvalidInput
from appliance.model.identity import Digest, digest_hex
from appliance.publish.station import Station

_PARTIAL, _OLD = f".{BUNDLE_DIRECTORY}.partial", f".{BUNDLE_DIRECTORY}.old"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class BundleContent:
    """metadata: name in the bundle -> file of the station; targets: path -> SHA-256 in hex."""

    metadata: Mapping[str, Path]
    targets: Mapping[str, str]
    items: Sequence[ContentItem]
    hint: Mapping[str, object]

    @property
    def blobs(self) -> dict[Digest, int]:
        """Every blob with its size in bytes: parts, manifests and their configs."""
        parts = {part.digest: part.size_bytes for item in self.items for part in item.parts.values()}
        documents = [data for item in self.items for data in (item.to_bytes(), item.config_bytes())]
        return parts | {digest_of_bytes(data): len(data) for data in documents}

    @property
    def size_bytes(self) -> int:
        """All blobs together."""
        return sum(self.blobs.values())


def require_place(to: Path, *, replace: bool) -> Path:
    """Return where a bundle below `to` will lie. Raises InvalidInput, AlreadyExists.

    A bundle that was moved aside for another one, which then did not arrive, gets its name back.
    """
    if not to.is_dir():
        raise InvalidInput(f"{to} is not a directory", hint="name the directory where the stick is mounted")
    target, old = to / BUNDLE_DIRECTORY, to / _OLD
    with disk_errors(f"looking at {to}"):
        if old.exists() and not target.exists():
            old.rename(target)
            fsync_directory(to)
    if target.exists() and not replace:
        raise AlreadyExists(f"{target} is there already", hint="take another stick, or: --replace")
    return target


@contextmanager
def written_bundle(to: Path, *, replace: bool) -> Iterator[Path]:
    """Lend an empty directory; what is in it at the end, each file on the disk, becomes the bundle below `to`.

    Raises InvalidInput, AlreadyExists, Failed.
    """
    target, partial = require_place(to, replace=replace), to / _PARTIAL
    with disk_errors(f"writing {target}"):
        for left_over in (partial, to / _OLD):
            shutil.rmtree(left_over, ignore_errors=True)
        partial.mkdir()
        yield partial
        _sync_tree(partial)
        _put_in_place(partial, target)


def write_bundle(station: Station, content: BundleContent, to: Path, progress: Progress, *, replace: bool) -> Path:
    """Write `<to>/APPLIANCE-UPDATE`. Raises AlreadyExists, InvalidInput, Failed."""
    with written_bundle(to, replace=replace) as partial:
        _require_room(content, to)
        for directory in (METADATA_DIRECTORY, TARGETS_DIRECTORY, BLOBS_DIRECTORY):
            (partial / directory).mkdir(parents=True)
        _write_small(station, content, partial)
        _write_blobs(station, content, partial, progress)
    return to / BUNDLE_DIRECTORY


def _require_room(content: BundleContent, to: Path) -> None:
    free = shutil.disk_usage(to).free
    if free < content.size_bytes:
        raise Failed(
            f"not enough room in {to}: {content.size_bytes} bytes needed, {free} free", hint="empty it first"
        )


def _write_small(station: Station, content: BundleContent, partial: Path) -> None:
    for name, source in content.metadata.items():
        _write(partial / METADATA_DIRECTORY / name, source.read_bytes())
    for path, hex_digits in content.targets.items():
        place = partial / TARGETS_DIRECTORY / hashed_target(path, hex_digits)
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(place, (station.targets / hashed_target(path, hex_digits)).read_bytes())
    _write(partial / OCI_DIRECTORY / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _write(partial / OCI_DIRECTORY / "index.json", _index(content.items))
    write_hint(partial, content.hint)


def _index(items: Sequence[ContentItem]) -> bytes:
    manifests = [
        {
            "mediaType": MANIFEST_TYPE,
            "digest": digest_of_bytes(item.to_bytes()),
            "size": len(item.to_bytes()),
            "annotations": {"org.opencontainers.image.ref.name": f"{item.name}-{item.version}"},
        }
        for item in items
    ]
    return json.dumps({"schemaVersion": 2, "manifests": manifests}, indent=2).encode()


def _write_blobs(station: Station, content: BundleContent, partial: Path, progress: Progress) -> None:
    done, total = 0, content.size_bytes
    for digest in content.blobs:

        def advance(more: int, digest: Digest = digest) -> None:
            nonlocal done
            done += more
            progress(f"writing {digest[:19]}", done, total)

        with station.blobs.open(digest) as stream:
            found, _ = copy_hashed(stream, partial / BLOBS_DIRECTORY / digest_hex(digest), advance, mode=None)
        if found != digest_hex(digest):
            raise Failed(
                f"content {digest} of the station has rotted: it is {found}",
                hint="add the package again, then cut again",
            )


def _write(path: Path, data: bytes) -> None:
    copy_hashed(io.BytesIO(data), path, mode=None)


def write_hint(partial: Path, hint: Mapping[str, object]) -> None:
    """Write what a bundle says of itself without a signature."""
    _write(partial / HINT_FILE, json.dumps(hint, indent=2).encode() + b"\n")


def _sync_tree(partial: Path) -> None:
    """Make every name in a directory durable."""
    for directory, _, _ in os.walk(partial):
        fsync_directory(Path(directory))


def _put_in_place(partial: Path, target: Path) -> None:
    """Give a whole bundle its name, in the place of one that may be there."""
    old = target.with_name(_OLD)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    fsync_directory(target.parent)
    shutil.rmtree(old, ignore_errors=True)
