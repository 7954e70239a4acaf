"""The common form of our own signed documents: canonical JSON of known fields, nothing more."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from appliance.bundle.canonical_json import canonical_bytes, parse_canonical
from appliance.errors import InvalidInput


class SignedDocument(BaseModel):
    """A frozen document that refuses fields it does not know. `title`: what errors call it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: ClassVar[str] = "the document"

    def to_bytes(self) -> bytes:
        """Write the canonical JSON that is signed."""
        return canonical_bytes(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the document. Raises InvalidInput, with the field and the reason."""
        document: dict[str, Any] = parse_canonical(data, cls.title)
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            raise InvalidInput(f"{cls.title}: {field}: {reason}" if field else f"{cls.title}: {reason}") from error
