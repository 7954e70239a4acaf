"""The owner's signing station: one directory, one command at a time, never a network.

station/keys/        key files, until each is in its safe
station/metadata/    TUF metadata, every version
station/targets/     small signed content, named as in a bundle
station/blobs/       big content, in parts, by digest
station/counter      the last ticket's number
station/root.json    the newest root: what boxes are provisioned with
"""

import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from appliance.durable import copy_hashed, disk_errors, exclusive_lock, fsync_directory, hash_file, make_directory
from appliance.errors import InvalidInput, NotFound
from appliance.publish.key_ring import KDF_ROUNDS, KeyRing, Passphrase, Secrets
from appliance.publish.metadata_store import MetadataStore
from appliance.publish.signing import Signing
from appliance.registry.blob_store import BlobStore
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
        self.root_file = directory / "root.json"
        self.now = now

    @classmethod
    @contextmanager
    def opened(
        cls,
        directory: Path,
        passphrase: Passphrase,
        *,
        new_passphrase: Passphrase | None = None,
        pin: Passphrase | None = None,
        keys: Sequence[Path] = (),
        new: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        kdf_rounds: int = KDF_ROUNDS,
    ) -> Iterator[Self]:
        """Hold a station; `new` makes its directory. keys: where safes are plugged in. Raises NotFound, Failed.

        new_passphrase: asked for new key files, pin: for tokens; `passphrase` is asked where they are not given.
        """
        directory = directory.absolute()
        if not new and not (directory / "metadata").is_dir():
            raise NotFound(
                f"{directory} is not a signing station", hint=f"appliance publish init --station {directory}"
            )
        secrets = Secrets(passphrase, new_passphrase or passphrase, pin or passphrase)
        with disk_errors(f"using the station {directory}"):
            make_directory(directory)
            with exclusive_lock(directory):
                station = cls(directory, KeyRing([directory / "keys", *keys], secrets, kdf_rounds), now)
                station.blobs.open_store()
                yield station

    def put_target(self, hashed_path: str, data: bytes) -> None:
        """Keep the content of a target, durably."""
        _write(self.targets / hashed_path, data)

    def show_root(self) -> None:
        """Put the newest root where whoever provisions boxes takes it: an older one trusts keys that were revoked."""
        newest = self.store.path("root", self.store.versions("root")[-1]).read_bytes()
        if not self.root_file.exists() or self.root_file.read_bytes() != newest:
            _write(self.root_file, newest)

    def root_fingerprint(self) -> str:
        """Return the SHA-256 of `root.json` in hex: what a person compares on a box. '' before the ceremony."""
        return hash_file(self.root_file) if self.root_file.exists() else ""

    def take_number(self, above: int) -> int:
        """Give away the next ticket number, above one that is known to be used.

        No number is ever given away twice, even if it is never used. A lost counter goes on above `above`.
        """
        path = self.directory / "counter"
        with disk_errors("counting tickets"):
            text = path.read_text(errors="replace") if path.exists() else "0"
            if not (text.isascii() and text.strip().isdigit()):
                raise InvalidInput(
                    f"{path} holds {text[:20]!r}, expected a number",
                    hint="write the number of the last ticket into it, or restore it from a copy",
                )
        number = max(int(text), above) + 1
        _write(path, f"{number}\n".encode())
        return number

    def free_bytes(self) -> int:
        """Room on the station's disk."""
        return shutil.disk_usage(self.directory).free


def _write(path: Path, data: bytes) -> None:
    """Write or replace a file, durably."""
    with disk_errors(f"writing {path}"):
        make_directory(path.parent)
        partial = path.with_name(f"{path.name}.tmp")
        partial.unlink(missing_ok=True)
        copy_hashed(io.BytesIO(data), partial, mode=0o644)
        partial.replace(path)
        fsync_directory(path.parent)
