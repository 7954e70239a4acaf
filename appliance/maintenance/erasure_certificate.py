"""The certificate of erasure: what a box says of its own end, checkable with the receipt key that its owner keeps.

The receipt key goes first, so it cannot sign what happened after. Before it goes, it vouches once for a key that
exists for nothing but this certificate; that key goes when the certificate lies outside of the box.
"""

from typing import Annotated, ClassVar, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field

from appliance.bundle.device_signature import bytes_to_sign, require_signature
from appliance.bundle.signed_document import SignedDocument
from appliance.errors import InvalidInput

Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Hex256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Signature = Annotated[str, Field(pattern="^([0-9a-f]{128})?$")]


class ErasureVoucher(SignedDocument):
    """What the receipt key signs, last of all: this key speaks for this box's erasure, and for nothing else."""

    title: ClassVar[str] = "the voucher for an erasure"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    serial: str
    began: str  # UTC, by the box's clock
    key: Hex256


class ErasureCertificate(SignedDocument):
    """What was erased and how far that reaches.

    serial, hardware, site: '' if nobody had provisioned the box. files, size_bytes: counted before the first was
    erased. did, reach, left: sentences. audit_seq, audit_digest: where the box's log ended.
    """

    title: ClassVar[str] = "the certificate of erasure"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    serial: str
    hardware: str
    site: str
    software: str
    began: str
    ended: str
    files: Count
    size_bytes: Count
    did: tuple[str, ...]
    reach: tuple[str, ...]
    left: tuple[str, ...]
    audit_seq: Count
    audit_digest: str


class SignedErasureCertificate(SignedDocument):
    """A certificate with the voucher and both signatures; signatures are '' for a box that had no receipt key."""

    title: ClassVar[str] = "the signed certificate of erasure"

    certificate: ErasureCertificate
    voucher: ErasureVoucher
    voucher_signature: Signature  # by the receipt key
    signature: Signature  # by the voucher's key

    def verify(self, receipt_key: str) -> ErasureCertificate:
        """Return the certificate if the box with this receipt key (hex) vouched for it. Raises InvalidInput."""
        if not self.voucher_signature:
            raise InvalidInput(
                "the certificate is not signed: the box had no receipt key",
                hint="it is a record, and no proof; nobody had provisioned the box, or its key was lost",
            )
        require_signature(self.voucher, self.voucher_signature, receipt_key)
        require_signature(self.certificate, self.signature, self.voucher.key)
        said = (self.certificate.serial, self.certificate.began)
        if said != (self.voucher.serial, self.voucher.began):
            raise InvalidInput("the certificate is of another erasure than the one that the box vouched for")
        return self.certificate


def sign_certificate(
    certificate: ErasureCertificate, voucher: ErasureVoucher, voucher_signature: str, key: Ed25519PrivateKey
) -> SignedErasureCertificate:
    """Sign with the key that was vouched for; without a voucher's signature there is nothing to sign for."""
    signature = key.sign(bytes_to_sign(certificate)).hex() if voucher_signature else ""
    return SignedErasureCertificate(
        certificate=certificate, voucher=voucher, voucher_signature=voucher_signature, signature=signature
    )
