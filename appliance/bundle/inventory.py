"""Which content a box has, so that a station can leave it out of a bundle."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from appliance.bundle.signed_document import SignedDocument


class Inventory(SignedDocument):
    """Files by SHA-256 in hex. Not signed: a wrong one makes a bundle that the box refuses as incomplete."""

    title: ClassVar[str] = "the inventory"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    serial: str
    files: tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...]
