"""What the metadata of a repository says, once python-tuf has verified it on a copy of what this box trusts.

Nothing of what verification learns is trusted before `commit`, but new roots: those are kept at once, because a
revoked key must stay revoked even if the rest is bad. Behind python-tuf stands the version floor.
"""

import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from tuf.api.exceptions import DownloadError, LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import TargetFile

from appliance.bundle.layout import (
    LARGEST_TARGET_BYTES,
    METADATA_DIRECTORY,
    MOST_DELEGATIONS,
    MOST_ROOTS,
    TARGETS_DIRECTORY,
    hashed_target,
)
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import disk_errors
from appliance.updates.directory_fetcher import DirectoryFetcher
from appliance.updates.generation import role_versions
from appliance.updates.medium import MetadataSource, NotOnMedium
from appliance.updates.root_chain import require_whole_chain
from appliance.updates.trust_store import TrustStore
from appliance.updates.tuf_client import Updater, UpdaterConfig
from appliance.updates.verification_errors import missing, refusal_of, rollback

_CONFIG = UpdaterConfig(max_root_rotations=MOST_ROOTS, max_delegations=MOST_DELEGATIONS)


class VerifiedMetadata:
    """Verified, not yet trusted: `commit` or `discard` ends it."""

    def __init__(
        self, store: TrustStore, source: MetadataSource, updater: Updater, fetcher: DirectoryFetcher, copy: Path
    ) -> None:
        """Use `verify_metadata`. `copy`: what the updater works on; it goes with this object."""
        self._store = store
        self._source = source
        self._updater = updater
        self._fetcher = fetcher
        self._copy = copy
        self._consistent_snapshot = store.root_of(copy).consistent_snapshot

    @property
    def versions(self) -> dict[str, int]:
        """Versions of the roles."""
        return role_versions(self._copy)

    def find(self, path: str) -> TargetFile | None:
        """Return what a role that may sign this target says of it; None if none does. Raises UpdateRefused."""
        try:
            return self._updater.get_targetinfo(path)
        except (RepositoryError, DownloadError, ValueError, RecursionError) as error:
            raise self._fetcher.refused or refusal_of(error, self._store.versions()) from error

    def content(self, target: TargetFile) -> bytes:
        """Return the content of a small target, as it was signed. Raises UpdateRefused."""
        prefix = next(iter(target.hashes.values())) if self._consistent_snapshot else ""
        path = f"{TARGETS_DIRECTORY}/{hashed_target(target.path, prefix) if prefix else target.path}"
        try:
            data = self._source.read(path, min(target.length, LARGEST_TARGET_BYTES))
            target.verify_length_and_hashes(data)
        except NotOnMedium as error:
            raise missing(path) from error
        except LengthOrHashMismatchError as error:
            raise UpdateRefused(
                Refusal.HASH_MISMATCH,
                f"{path} is not what was signed",
                hint="copy the bundle to the stick again, or use another stick",
                facts={"file": path},
            ) from error
        return data

    def commit(self) -> None:
        """Trust from now on what was verified, and nothing older. Durable when it returns."""
        self._store.advance(self._copy)

    def discard(self) -> None:
        """Forget what was not committed."""
        shutil.rmtree(self._copy, ignore_errors=True)


def verify_metadata(
    store: TrustStore, source: MetadataSource, reference: datetime, *, keep_roots: bool
) -> VerifiedMetadata:
    """Verify as of `reference` (UTC). keep_roots False changes nothing on this box, and needs no right to.

    Raises UpdateRefused.
    """
    bootstrap = store.bootstrap()
    require_whole_chain(source, store.root().version)
    with disk_errors("verifying a bundle"):
        copy = _copy(store, beside=keep_roots)
    try:
        return _verified(store, source, reference, bootstrap, copy, keep_roots=keep_roots)
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise


def set_reference_time(updater: Updater, reference: datetime) -> None:
    """Let python-tuf judge expiry as of `reference`: its public interface knows only the system's clock."""
    updater._trusted_set.reference_time = reference  # noqa: SLF001  (a test holds tuf to it)


def _verified(
    store: TrustStore, source: MetadataSource, reference: datetime, bootstrap: bytes, copy: Path, *, keep_roots: bool
) -> VerifiedMetadata:
    fetcher = DirectoryFetcher(source)
    try:
        updater = Updater(str(copy), f"{METADATA_DIRECTORY}/", fetcher=fetcher, config=_CONFIG, bootstrap=bootstrap)
        set_reference_time(updater, reference)
        updater.refresh()
    except (RepositoryError, DownloadError, ValueError, RecursionError) as error:
        raise fetcher.refused or refusal_of(error, store.versions()) from error
    finally:
        if keep_roots:
            store.keep_roots(copy)
    _require_above_floor(store, copy)
    return VerifiedMetadata(store, source, updater, fetcher, copy)


def _copy(store: TrustStore, *, beside: bool) -> Path:
    """Copy what is trusted: beside it, where it can take its place, or where any user may write."""
    if beside:
        copy = store.scratch()
        shutil.rmtree(copy, ignore_errors=True)
    else:
        copy = Path(tempfile.mkdtemp(prefix="appliance-verify-"))
    store.copy_to(copy)
    return copy


def _require_above_floor(store: TrustStore, copy: Path) -> None:
    """Refuse versions below those that this box has ever trusted: the snapshot names those of all roles.

    Raises UpdateRefused.
    """
    floor, keys = store.floor(), store.root_of(copy).keys
    for role, version in role_versions(copy).items():
        lowest = floor.lowest(role, keys)
        if version < lowest:
            raise rollback(role, lowest, version)
