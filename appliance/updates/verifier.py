"""Who says what a bundle brings: python-tuf on a copy of what this box trusts, and the version floor behind it.

Nothing of what verification learns is trusted before `commit`, but new roots: those are kept at once, because a
revoked key must stay revoked even if the rest of the stick is bad. Only this module makes a VerifiedBundle.
"""

import hashlib
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import TargetFile

from appliance.bundle.layout import (
    LARGEST_TARGET_BYTES,
    METADATA_DIRECTORY,
    MOST_DELEGATIONS,
    MOST_ROOTS,
    POLICY_TARGET,
    TARGETS_DIRECTORY,
    TICKET_TARGET,
    hashed_target,
)
from appliance.bundle.model_item import digest_of_bytes
from appliance.bundle.policy import Policy
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.signed_document import SignedDocument
from appliance.bundle.ticket import Ticket
from appliance.errors import InvalidInput
from appliance.model.identity import Digest
from appliance.registry.durable import disk_errors
from appliance.updates.directory_fetcher import DirectoryFetcher
from appliance.updates.medium import Medium, NotOnMedium
from appliance.updates.root_chain import require_whole_chain
from appliance.updates.trust_store import TrustStore, role_versions
from appliance.updates.tuf_client import Updater, UpdaterConfig
from appliance.updates.verification_errors import missing, refusal_of, rollback

D = TypeVar("D", bound=SignedDocument)

_CONFIG = UpdaterConfig(max_root_rotations=MOST_ROOTS, max_delegations=MOST_DELEGATIONS)


class VerifiedBundle:
    """A bundle whose metadata was verified. Leaving its `with` without `commit` forgets it."""

    def __init__(
        self, store: TrustStore, medium: Medium, updater: Updater, fetcher: DirectoryFetcher, copy: Path
    ) -> None:
        """Use `BundleVerifier.verify`. `copy`: what the updater works on; it goes with this object."""
        self._store = store
        self._medium = medium
        self._updater = updater
        self._fetcher = fetcher
        self._copy = copy
        data = self._ticket_bytes()
        self.ticket_digest: Digest = digest_of_bytes(data)
        self.ticket = _parsed(Ticket, data)
        self.policy = self._policy()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @property
    def versions(self) -> dict[str, int]:
        """Versions of the roles."""
        return role_versions(self._copy)

    def read_target(self, path: str, sha256_hex: str) -> bytes:
        """Return a small target that a trusted role lists with this content. Raises UpdateRefused."""
        found = self._find(path)
        if found is None:
            raise UpdateRefused(
                Refusal.BAD_SIGNATURE,
                f"the ticket names {path}, but nobody who may has signed it",
                hint="report it to the signing station",
                facts={"path": path},
            )
        if found.hashes.get("sha256") != sha256_hex:
            raise UpdateRefused(
                Refusal.HASH_MISMATCH,
                f"{path} is signed with other content than the ticket names",
                hint="ask the signing station for a new bundle: this one is put together wrongly",
                facts={"path": path, "found": found.hashes.get("sha256", ""), "expected": sha256_hex},
            )
        return self._content(found)

    def commit(self) -> None:
        """Trust from now on what was verified, and nothing older. Durable when it returns."""
        self._store.advance(self._copy)

    def discard(self) -> None:
        """Forget what was not committed."""
        shutil.rmtree(self._copy, ignore_errors=True)

    def _ticket_bytes(self) -> bytes:
        found = self._find(TICKET_TARGET)
        if found is None:
            raise UpdateRefused(
                Refusal.INCOMPLETE_MEDIUM,
                "the bundle carries no ticket, so it is for no box",
                hint="ask the signing station for a bundle that was cut for this box",
                facts={"missing": [TICKET_TARGET]},
            )
        return self._content(found)

    def _policy(self) -> Policy:
        found = self._find(POLICY_TARGET)
        return Policy() if found is None else _parsed(Policy, self._content(found))

    def _find(self, path: str) -> TargetFile | None:
        try:
            found = self._updater.get_targetinfo(path)
        except (RepositoryError, DownloadError, ValueError, RecursionError) as error:
            raise self._fetcher.refused or refusal_of(error, self._medium, self._store.versions()) from error
        require_above_floor(self._store, self._copy)
        return found

    def _content(self, target: TargetFile) -> bytes:
        digest = target.hashes.get("sha256", "")
        path = f"{TARGETS_DIRECTORY}/{hashed_target(target.path, digest)}"
        try:
            data = self._medium.read(path, min(target.length, LARGEST_TARGET_BYTES))
        except NotOnMedium as error:
            raise missing(path) from error
        if len(data) != target.length or hashlib.sha256(data).hexdigest() != digest:
            raise UpdateRefused(
                Refusal.HASH_MISMATCH,
                f"{path} is not what was signed",
                hint="copy the bundle to the stick again, or use another stick",
                facts={"file": path},
            )
        return data


class BundleVerifier:
    """Verifies the bundle of one medium against what one box trusts."""

    def __init__(self, store: TrustStore, medium: Medium) -> None:
        self._store = store
        self._medium = medium

    def verify(self, reference: datetime, *, keep_roots: bool = True) -> VerifiedBundle:
        """Verify as of `reference` (UTC). keep_roots False changes nothing on this box, and needs no right to.

        Raises UpdateRefused.
        """
        bootstrap = self._store.bootstrap()
        require_whole_chain(self._medium, self._store.root().version)
        with disk_errors("verifying a bundle"):
            copy = self._copy(beside=keep_roots)
        try:
            return self._verified(reference, bootstrap, copy, keep_roots=keep_roots)
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise

    def _verified(self, reference: datetime, bootstrap: bytes, copy: Path, *, keep_roots: bool) -> VerifiedBundle:
        fetcher = DirectoryFetcher(self._medium)
        try:
            updater = Updater(
                str(copy), f"{METADATA_DIRECTORY}/", fetcher=fetcher, config=_CONFIG, bootstrap=bootstrap
            )
            set_reference_time(updater, reference)
            updater.refresh()
        except (RepositoryError, DownloadError, ValueError, RecursionError) as error:
            raise fetcher.refused or refusal_of(error, self._medium, self._store.versions()) from error
        finally:
            if keep_roots:
                self._store.keep_roots(copy)
        require_above_floor(self._store, copy)
        return VerifiedBundle(self._store, self._medium, updater, fetcher, copy)

    def _copy(self, *, beside: bool) -> Path:
        """Copy what is trusted: beside it, where it can take its place, or where any user may write."""
        if beside:
            copy = self._store.scratch()
            shutil.rmtree(copy, ignore_errors=True)
        else:
            copy = Path(tempfile.mkdtemp(prefix="appliance-verify-"))
        self._store.copy_to(copy)
        return copy


def set_reference_time(updater: Updater, reference: datetime) -> None:
    """Let python-tuf judge expiry as of `reference`: its public interface knows only the system's clock."""
    updater._trusted_set.reference_time = reference  # noqa: SLF001  (a test holds tuf to it)


def require_above_floor(store: TrustStore, copy: Path) -> None:
    """Refuse versions below those that this box has ever trusted. Raises UpdateRefused."""
    floor, keys = store.floor(), store.root_of(copy).keys
    for role, version in role_versions(copy).items():
        lowest = floor.lowest(role, keys)
        if version < lowest:
            raise rollback(role, lowest, version)


def _parsed(kind: type[D], data: bytes) -> D:
    try:
        return kind.parse(data)
    except InvalidInput as error:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            error.message,
            hint="it may need a newer appliance: ask the signing station",
        ) from error
