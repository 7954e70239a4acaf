"""What the owner's release approvers allow an operator at the box to decide."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from appliance.bundle.signed_document import SignedDocument


class Policy(SignedDocument):
    """`policy/policy.json`, signed by the release approvers.

    allow_expired_days: so long after its install_by an operator at the box may still accept a ticket; 0 is never.
    """

    title: ClassVar[str] = "the policy"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    allow_expired_days: Annotated[int, Field(ge=0, le=3650, strict=True)] = 0
