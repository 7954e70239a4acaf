"""The ticket: what exactly a bundle brings, for which boxes, until when. TUF itself has no notion of a device."""

import re
from datetime import datetime
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from appliance.bundle.layout import check_target_path
from appliance.bundle.moments import parse_moment
from appliance.bundle.signed_document import SignedDocument
from appliance.errors import InvalidInput

MOST_ITEMS = 500
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Count = Annotated[int, Field(ge=0, le=2**53, strict=True)]
Text = Annotated[str, Field(max_length=2000)]


class Devices(SignedDocument):
    """Which boxes: these serials, the members of these groups (a box's site is one), or all of the owner's."""

    serials: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    all: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.serials or self.groups) == self.all:
            raise ValueError("devices: expected serials or groups, or else all")
        for serial in self.serials:
            parse_serial(serial)
        return self


class Requirements(SignedDocument):
    """What a box must have. `software`: the oldest version, '' for any. `gpu`: whether it must have one."""

    software: Annotated[str, Field(pattern=r"^(\d+\.\d+\.\d+)?$")] = ""
    gpu: bool = False
    free_bytes: Count = 0


class TicketItem(SignedDocument):
    """One target that is to be installed; for a model it is the manifest that names its content."""

    path: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    kind: Literal["model", "config", "software"]

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        return check_target_path(path)


class Ticket(SignedDocument):
    """A signed order to install. `seq` rises with every ticket of one station; older ones are refused.

    allow_from: the smallest `seq` that a box must have installed before; 0 is any box.
    """

    title: ClassVar[str] = "the ticket"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    id: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,79}$")]
    product: Annotated[str, Field(max_length=64)]
    seq: Annotated[int, Field(ge=1, le=2**53, strict=True)]
    issued: str
    install_by: str
    devices: Devices
    hardware: tuple[Annotated[str, Field(max_length=128)], ...] = ()  # none: any
    requires: Requirements = Requirements()
    items: Annotated[tuple[TicketItem, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    allow_from: Count = 0
    notes: Text = ""

    @field_validator("issued", "install_by")
    @classmethod
    def _check_moment(cls, text: str) -> str:
        parse_moment(text)
        return text

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        paths = [item.path for item in self.items]
        if len(set(paths)) < len(paths):
            raise ValueError("items: a path stands there twice")
        if self.install_by <= self.issued:
            raise ValueError("install_by is not after issued")
        return self

    @property
    def issued_at(self) -> datetime:
        """When it was signed."""
        return parse_moment(self.issued)

    @property
    def install_by_at(self) -> datetime:
        """After this moment it is not accepted."""
        return parse_moment(self.install_by)


def parse_serial(text: str) -> str:
    """Read a box's serial number: a letter or digit, then up to 63 of A-Z a-z 0-9 . _ -. Raises InvalidInput."""
    if not _SERIAL.fullmatch(text):
        raise InvalidInput(
            f"invalid serial {text[:80]!r}: expected a letter or digit, then at most 63 of A-Z a-z 0-9 . _ -"
        )
    return text
