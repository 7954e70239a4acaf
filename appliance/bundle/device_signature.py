"""What a box signs with its own Ed25519 key, made when it was provisioned: receipts and checkpoints of its audit log.

What is signed begins with the kind of the document, so that a signature under one kind is none under another.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from appliance.bundle.signed_document import SignedDocument
from appliance.errors import InvalidInput


def bytes_to_sign(document: SignedDocument) -> bytes:
    """Return what the box's key signs."""
    return f"appliance: {document.title}\n".encode() + document.to_bytes()


def require_signature(document: SignedDocument, signature: str, public_key: str) -> None:
    """Check a signature; key and signature are in hex. Raises InvalidInput."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), bytes_to_sign(document))
    except (ValueError, InvalidSignature) as error:
        raise InvalidInput(
            f"{document.title} is not signed by the key {public_key[:16]}...: changed, or from another box",
            hint="compare the key with the one that the box shows: appliance status",
        ) from error
