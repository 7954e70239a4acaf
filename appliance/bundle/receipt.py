"""The receipt of an update: what a box says became of a ticket, signed with the box's own key."""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator

from appliance.bundle.device_signature import bytes_to_sign, require_signature
from appliance.bundle.moments import parse_moment
from appliance.bundle.signed_document import SignedDocument
from appliance.bundle.ticket import parse_serial

Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Hex256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=4000)]


class ServedVersion(SignedDocument):
    """One model version that serves. `digest`: the registry's, of its manifest."""

    name: Annotated[str, Field(max_length=256)]
    version: Count
    digest: Annotated[str, Field(pattern="^(sha256:[0-9a-f]{64})?$")] = ""


class Receipt(SignedDocument):
    """What happened. `code`: the exit status, 0 if all is well; `result`: a word, or the refusal's class.

    ticket_*: empty and 0 where no ticket could be read. time: by the box's clock; clock: whether it can be trusted.
    audit_seq, audit_digest: the head of the box's audit log when the receipt was written.
    """

    title: ClassVar[str] = "the receipt"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    serial: str
    hardware: Annotated[str, Field(max_length=128)]
    site: Annotated[str, Field(max_length=64)]
    ticket_id: Annotated[str, Field(pattern="^([a-z0-9][a-z0-9-]{0,79})?$")] = ""
    ticket_seq: Count = 0
    ticket_digest: Annotated[str, Field(pattern="^(sha256:[0-9a-f]{64})?$")] = ""
    code: Annotated[int, Field(ge=0, le=255, strict=True)]
    result: Annotated[str, Field(pattern="^[A-Z_]{1,64}$")]
    message: Text
    serving: Annotated[tuple[ServedVersion, ...], Field(max_length=5000)] = ()
    time: str
    clock: Annotated[str, Field(max_length=256)]
    software: Annotated[str, Field(max_length=64)]
    audit_seq: Count
    audit_digest: Hex256

    @field_validator("serial")
    @classmethod
    def _check_serial(cls, text: str) -> str:
        return parse_serial(text)

    @field_validator("time")
    @classmethod
    def _check_moment(cls, text: str) -> str:
        parse_moment(text)
        return text

    @property
    def audit_head(self) -> str:
        """The digits that the technician's paper shows."""
        return self.audit_digest[:8]


class SignedReceipt(SignedDocument):
    """A receipt with the signature of the box. `key`: which one the box says it is; trust decides `verify`."""

    title: ClassVar[str] = "the signed receipt"

    receipt: Receipt
    key: Hex256
    signature: Annotated[str, Field(pattern="^[0-9a-f]{128}$")]

    @classmethod
    def sign(cls, receipt: Receipt, key: str, sign: Callable[[bytes], str]) -> Self:
        """Sign a receipt. `sign` gives a signature in hex for bytes, `key` is its public half."""
        return cls(receipt=receipt, key=key, signature=sign(bytes_to_sign(receipt)))

    def verify(self, public_key: str) -> Receipt:
        """Return the receipt if this key (hex) signed it. Raises InvalidInput."""
        require_signature(self.receipt, self.signature, public_key)
        return self.receipt
