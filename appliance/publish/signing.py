"""Who signs what: each role's metadata by as many of its keys as its delegator asks for, and roots by old and new."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Key, Metadata, Role, Root, Targets

from appliance.errors import Failed
from appliance.publish.key_ring import KeyRing
from appliance.publish.metadata_store import MetadataStore
from appliance.publish.role_rules import TOP_LEVEL, rule_of


class Signing:
    """Signs with the keys of one ring into one store. now: UTC."""

    def __init__(self, store: MetadataStore, ring: KeyRing, now: Callable[[], datetime]) -> None:
        self.store = store
        self._ring = ring
        self._now = now

    def expiry(self, role: str) -> datetime:
        """Return until when a signature of this role holds if it is made now."""
        return self._now().replace(microsecond=0) + timedelta(days=rule_of(role).days)

    def sign(self, role: str, signed: Any, expires: datetime | None = None) -> "Metadata[Any]":
        """Give content the next version of its role, sign it, and keep it. Raises NotFound, InvalidInput."""
        signed.version = self.store.next_version(role)
        signed.expires = expires or self.expiry(role)
        metadata = Metadata(signed)
        for delegator in self._delegators(role, signed):
            keys, threshold = keys_of(delegator, role)
            for signer in self._ring.signers(role, keys, threshold):
                _sign(metadata, signer, role)
        self.store.put(role, metadata)
        return metadata

    def unlock(self, role: str) -> None:
        """Ask for what signing a role takes now, before anything long begins. Raises as `sign` does."""
        keys, threshold = keys_of(self.delegator(role), role)
        self._ring.signers(role, keys, threshold)

    def refresh_stale(self) -> list[str]:
        """Sign again what its own keys no longer vouch for: they changed, or a command was killed in between."""
        for role in self._delegated():
            if not self.store.versions(role):  # its delegation was signed, and then the command was killed
                self.sign(role, Targets())
        stale = [role for role in self.delegated_in_order() if not self._is_valid(role)]
        for role in stale:
            self.sign(role, self.store.latest(role).signed)
        return stale

    def delegated_in_order(self) -> list[str]:
        """Return targets and every role that it delegates to and that has metadata."""
        if not self.store.versions("targets"):
            return []
        return ["targets", *(name for name in self._delegated() if self.store.versions(name))]

    def delegator(self, role: str) -> Root | Targets:
        """Return the content that says who signs a role."""
        parent = "root" if role in TOP_LEVEL else "targets"
        signed: Root | Targets = self.store.latest(parent).signed
        return signed

    def _delegated(self) -> list[str]:
        delegations = self.store.latest("targets").signed.delegations
        return list(delegations.roles) if delegations is not None else []

    def _delegators(self, role: str, signed: Any) -> list[Root | Targets]:
        """A new root is signed by its own keys and by those of the root before it."""
        if role != "root":
            return [self.delegator(role)]
        before = [self.store.latest("root").signed] if self.store.versions("root") else []
        return [*before, signed]

    def _is_valid(self, role: str) -> bool:
        try:
            metadata = self.store.latest(role)
            self.delegator(role).verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except RepositoryError:
            return False
        return True


def _sign(metadata: "Metadata[Any]", signer: Signer, role: str) -> None:
    try:
        metadata.sign(signer, append=True)
    except UnsignedMetadataError as error:  # only a token can fail: wrong PIN, pulled out
        reason = error.__cause__ or error
        raise Failed(
            f"'{role}' could not be signed: {reason or type(reason).__name__}",
            hint="is the token plugged in, and its PIN right? A token locks itself after a few wrong ones",
        ) from error


def keys_of(delegator: Root | Targets, role: str) -> tuple[list[Key], int]:
    """Return a role's keys and how many of them must sign."""
    found: Role = delegator.get_delegated_role(role)
    return [delegator.get_key(key_id) for key_id in found.keyids], found.threshold
