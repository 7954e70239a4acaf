"""Root files of owners, signed with real keys."""

from datetime import UTC, datetime

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

EXPIRES = datetime(2036, 1, 1, tzinfo=UTC)


def root_file(keys: int = 3, threshold: int = 2, signers: int = 2) -> bytes:
    """A root of `keys` Ed25519 keys, signed by `signers` of them."""
    owners = [CryptoSigner.generate_ed25519() for _ in range(keys)]
    root = Root(expires=EXPIRES, consistent_snapshot=True)
    for owner in owners:
        root.add_key(owner.public_key, Root.type)
    for role in ("targets", "snapshot", "timestamp"):
        root.add_key(owners[0].public_key, role)
    root.roles[Root.type].threshold = threshold
    metadata = Metadata(root)
    for owner in owners[:signers]:
        metadata.sign(owner, append=True)
    return metadata.to_bytes()
