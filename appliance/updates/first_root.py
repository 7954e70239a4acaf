"""The root file that a box is provisioned with: the one thing that a person has to compare with paper."""

import hashlib
from dataclasses import dataclass

from securesystemslib.exceptions import StorageError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.errors import InvalidInput

LARGEST_ROOT_BYTES = 512_000
_HINT = "take the file root.json that the signing station wrote: appliance publish init"


@dataclass(frozen=True, slots=True)
class FirstRoot:
    """What the file says. `fingerprint`: SHA-256 of its bytes, in hex."""

    version: int
    keyids: tuple[str, ...]
    threshold: int
    fingerprint: str


def read_first_root(data: bytes) -> FirstRoot:
    """Read the root file; it must be signed by its own keys. Raises InvalidInput, UpdateRefused (THRESHOLD).

    An old root may have expired: newer ones come with the first bundle.
    """
    if len(data) > LARGEST_ROOT_BYTES:
        raise InvalidInput(f"the root file has {len(data)} bytes, expected at most {LARGEST_ROOT_BYTES}", hint=_HINT)
    try:
        metadata: Metadata[Root] = Metadata[Root].from_bytes(data)
        signers = metadata.signed.get_verification_result(Root.type, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, StorageError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidInput(f"the root file is no TUF root: {error or type(error).__name__}", hint=_HINT) from error
    role = metadata.signed.roles[Root.type]
    if not signers.verified:
        got, need = len(signers.signed), role.threshold
        raise UpdateRefused(
            Refusal.THRESHOLD,
            f"the root file is signed by {got} of its {len(role.keyids)} keys, {need} are needed",
            hint=_HINT,
            facts={"got": got, "need": need},
        )
    return FirstRoot(metadata.signed.version, tuple(role.keyids), role.threshold, hashlib.sha256(data).hexdigest())
