"""Where an audit log ended when it was exported, signed with the box's own key."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from appliance.bundle.device_signature import bytes_to_sign, require_signature
from appliance.bundle.signed_document import SignedDocument

Hex256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class AuditCheckpoint(SignedDocument):
    """The last entry of an exported log, and the SHA-256 of the exported file."""

    title: ClassVar[str] = "the checkpoint of the audit log"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    serial: str
    seq: Annotated[int, Field(ge=0, le=2**53, strict=True)]
    digest: Hex256
    file_sha256: Hex256
    time: str


class SignedCheckpoint(SignedDocument):
    """A checkpoint with the signature of the box. `key`: which one the box says it is."""

    title: ClassVar[str] = "the signed checkpoint of the audit log"

    checkpoint: AuditCheckpoint
    key: Hex256
    signature: Annotated[str, Field(pattern="^[0-9a-f]{128}$")]

    @classmethod
    def sign(cls, checkpoint: AuditCheckpoint, key: str, sign: Callable[[bytes], str]) -> Self:
        """Sign a checkpoint. `sign` gives a signature in hex for bytes, `key` is its public half."""
        return cls(checkpoint=checkpoint, key=key, signature=sign(bytes_to_sign(checkpoint)))

    def verify(self, public_key: str) -> AuditCheckpoint:
        """Return the checkpoint if this key (hex) signed it. Raises InvalidInput."""
        require_signature(self.checkpoint, self.signature, public_key)
        return self.checkpoint
