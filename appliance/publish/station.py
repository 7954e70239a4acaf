"""The owner's signing station: one directory, one command at a time, never a network.

station/keys/        key files, until each is in its safe
station/metadata/    TUF metadata, every version
station/targets/     small signed content, named as in a bundle
station/blobs/       big content, in parts, by digest
station/counter      the last ticket's number
"""

import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from appliance.errors import InvalidInput, NotFound
from appliance.publish.key_ring import KDF_ROUNDS, KeyRing, Passphrase
from appliance.publish.metadata_store import MetadataStore
from appliance.publish.signing import Signing
from appliance.registry.blob_store import BlobStore
from appliance.registry.durable import copy_hashed, disk_errors, exclusive_lock, fsync_directory, make_directory
from appliance.registry.staging import StagingArea


class Station:
    """One station, held by one command."""

    def __init__(self, directory: Path, ring: KeyRing, now: Callable[[], datetime]) -> None:
        """Use `opened`."""
        self.directory = directory
        self.store = MetadataStore(directory / "metadata")
        self.ring = ring
        self.signing = Signing(self.store, ring, now)
        self.staging = StagingArea(directory / "staging")
        self.blobs = BlobStore(directory / "blobs", self.staging)
        self.targets = directory / "targets"
        self.now = now

    @classmethod
    @contextmanager
    def opened(
        cls,
        directory: Path,
        passphrase: Passphrase,
        *,
        keys: Sequence[Path] = (),
        new: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        kdf_rounds: int = KDF_ROUNDS,
    ) -> Iterator[Self]:
        """Hold a station; `new` makes its directory. keys: where safes are plugged in. Raises NotFound, Failed."""
        directory = directory.absolute()
        if not new and not (directory / "metadata").is_dir():
            raise NotFound(
                f"{directory} is not a signing station", hint=f"appliance publish init --station {directory}"
            )
        with disk_errors(f"opening the station {directory}"):
            make_directory(directory)
            with exclusive_lock(directory):
                station = cls(directory, KeyRing([directory / "keys", *keys], passphrase, kdf_rounds), now)
                station.blobs.open_store()
                yield station

    def put_target(self, hashed_path: str, data: bytes) -> None:
        """Keep the content of a target, durably."""
        path = self.targets / hashed_path
        with disk_errors(f"writing {path}"):
            make_directory(path.parent)
            partial = path.with_name(f"{path.name}.tmp")
            partial.unlink(missing_ok=True)
            copy_hashed(io.BytesIO(data), partial, mode=0o644)
            partial.replace(path)
            fsync_directory(path.parent)

    def take_number(self) -> int:
        """Give away the next ticket number; no number is ever given away twice, even if it is never used."""
        path = self.directory / "counter"
        with disk_errors("counting tickets"):
            text = path.read_text() if path.exists() else "0"
            if not text.strip().isdigit():
                raise InvalidInput(f"{path} holds {text[:20]!r}, expected a number", hint="restore it from a copy")
            number = int(text) + 1
            partial = path.with_suffix(".tmp")
            partial.unlink(missing_ok=True)
            copy_hashed(io.BytesIO(f"{number}\n".encode()), partial, mode=0o644)
            partial.replace(path)
            fsync_directory(self.directory)
        return number

    def free_bytes(self) -> int:
        """Room on the station's disk."""
        return shutil.disk_usage(self.directory).free
