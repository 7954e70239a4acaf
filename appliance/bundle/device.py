"""Who a box is: given to it once, when it is provisioned, by whoever owns it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from appliance.bundle.layout import parse_label
from appliance.bundle.signed_document import SignedDocument
from appliance.bundle.ticket import parse_serial


class DeviceIdentity(SignedDocument):
    """A box's serial number, hardware and place. A ticket for a group means its members and the site of that name."""

    title: ClassVar[str] = "the provisioning file"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    serial: str
    hardware: Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9._ -]{0,127}$")]
    site: str
    groups: tuple[str, ...] = ()
    sealed_at: str  # UTC, to the second
    receipt_key: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]  # the box's own Ed25519 public key

    @field_validator("serial")
    @classmethod
    def _check_serial(cls, text: str) -> str:
        return parse_serial(text)

    @field_validator("site")
    @classmethod
    def _check_site(cls, text: str) -> str:
        return parse_label(text, "site")

    @field_validator("groups")
    @classmethod
    def _check_groups(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(parse_label(group, "group") for group in groups)

    @property
    def memberships(self) -> frozenset[str]:
        """Groups that this box answers to."""
        return frozenset({*self.groups, self.site})
