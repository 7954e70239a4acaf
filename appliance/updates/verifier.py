"""Who says what a bundle brings: its ticket, the owner's policy, and the small targets that the ticket names.

Only this module makes a VerifiedBundle; what it rests on is in verified_metadata.py.
"""

from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from appliance.bundle.layout import POLICY_TARGET, TICKET_TARGET
from appliance.bundle.oci_layers import digest_of_bytes
from appliance.bundle.policy import Policy
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.signed_document import SignedDocument
from appliance.bundle.ticket import Ticket
from appliance.errors import InvalidInput
from appliance.model.identity import Digest
from appliance.updates.medium import Medium
from appliance.updates.trust_store import TrustStore
from appliance.updates.verified_metadata import VerifiedMetadata, verify_metadata

D = TypeVar("D", bound=SignedDocument)


class VerifiedBundle:
    """A bundle whose metadata was verified. Leaving its `with` without `commit` forgets it."""

    def __init__(self, metadata: VerifiedMetadata) -> None:
        """Use `BundleVerifier.verify`."""
        self._metadata = metadata
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
        return self._metadata.versions

    def read_target(self, path: str, sha256_hex: str) -> bytes:
        """Return a small target that a trusted role lists with this content. Raises UpdateRefused."""
        found = self._metadata.find(path)
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
        return self._metadata.content(found)

    def commit(self) -> None:
        """Trust from now on what was verified, and nothing older. Durable when it returns."""
        self._metadata.commit()

    def discard(self) -> None:
        """Forget what was not committed."""
        self._metadata.discard()

    def _ticket_bytes(self) -> bytes:
        found = self._metadata.find(TICKET_TARGET)
        if found is None:
            raise UpdateRefused(
                Refusal.INCOMPLETE_MEDIUM,
                "the bundle carries no ticket, so it is for no box",
                hint="ask the signing station for a bundle that was cut for this box",
                facts={"missing": [TICKET_TARGET]},
            )
        return self._metadata.content(found)

    def _policy(self) -> Policy:
        found = self._metadata.find(POLICY_TARGET)
        return Policy() if found is None else _parsed(Policy, self._metadata.content(found))


class BundleVerifier:
    """Verifies the bundle of one medium against what one box trusts."""

    def __init__(self, store: TrustStore, medium: Medium) -> None:
        self._store = store
        self._medium = medium

    def verify(self, reference: datetime, *, keep_roots: bool = True) -> VerifiedBundle:
        """Verify as of `reference` (UTC). keep_roots False changes nothing on this box, and needs no right to.

        Raises UpdateRefused.
        """
        metadata = verify_metadata(self._store, self._medium, reference, keep_roots=keep_roots)
        try:
            return VerifiedBundle(metadata)
        except BaseException:
            metadata.discard()
            raise


def _parsed(kind: type[D], data: bytes) -> D:
    try:
        return kind.parse(data)
    except InvalidInput as error:
        raise UpdateRefused(
            Refusal.PRECONDITION,
            error.message,
            hint="it may need a newer appliance: ask the signing station",
        ) from error
