"""How an update ended, for a person, for a program and for the receipt."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from appliance.bundle.refusal import Fact, Refusal, UpdateRefused

INSTALLED = "INSTALLED"
ROLLED_BACK = "ROLLED_BACK"  # because an operator asked for it
ACCEPTABLE = "ACCEPTABLE"  # the answer of `inspect`
RESTARTING = "RESTARTING"  # software is in its slot; how it ends is known after the restart
HEALED = "HEALED"  # nothing new, but content that had rotted came back


@dataclass(frozen=True, slots=True)
class OutcomeModel:
    """One model version that the update is about."""

    name: str
    version: int
    size_bytes: int
    stage_bytes: int  # of these, not on the box before
    digest: str


@dataclass(frozen=True, slots=True)
class UpdateOutcome:
    """What happened. `code`: the exit status, 0 if all is well. `result`: a word from above, or a Refusal's name.

    needs_restart: settings of the site that wait for a restart of the daemon. receipt: its path, '' if the medium
    is read-only, or takes none because of `receipt_problem`. audit_head: the first digits of the log's head, for the
    receipt on paper.
    """

    code: int
    result: str
    message: str
    hint: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    ticket_id: str = ""
    ticket_seq: int = 0
    ticket_digest: str = ""
    notes: str = ""
    models: tuple[OutcomeModel, ...] = ()
    for_this_device: bool = False  # the ticket names this box by its serial number
    software: str = ""  # release that it brings for this box
    settings: str = ""  # path of the item
    skipped: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    clock: str = ""  # "trusted", or why not
    receipt: str = ""
    receipt_problem: str = ""
    audit_head: str = ""

    @classmethod
    def of_refusal(cls, refused: UpdateRefused, **more: Any) -> Self:
        """Say that nothing was installed, and why."""
        return cls(
            refused.reason.value, refused.reason.name, refused.message, refused.hint, dict(refused.facts), **more
        )

    def document(self) -> dict[str, Any]:
        """Write it for `--json`."""
        return asdict(self) | {"facts": dict(self.facts)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read what `document` wrote (from a daemon that may be one release apart: unknown fields are left out)."""
        known: dict[str, Any] = {name: document[name] for name in cls.__dataclass_fields__ if name in document}
        known["models"] = tuple(OutcomeModel(**model) for model in known.get("models", ()))
        for name in ("skipped", "needs_restart"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)

    def error(self) -> UpdateRefused | None:
        """Return it as the error that it is; None if all is well."""
        if not self.code:
            return None
        return UpdateRefused(Refusal(self.code), self.message, hint=self.hint, facts=self.facts)
