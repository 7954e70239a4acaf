"""One line of the audit log, and the events that are worth one.

A line is canonical JSON, so that equal entries are equal bytes; it names the SHA-256 of the line before it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Self

from appliance.bundle.canonical_json import canonical_bytes, parse_canonical
from appliance.bundle.signed_document import SignedDocument
from appliance.errors import InvalidInput

NO_LINE = "0" * 64  # what the first line names as the one before it
LONGEST_LINE_BYTES = 64 * 1024
LONGEST_TEXT = 1000  # characters of one fact: a reason, never a payload
MOST_FACTS = 32

AuditFact = str | int


class AuditEvent(StrEnum):
    """What is written down. The values stand in logs that outlive this version: never reuse one."""

    SERVICE_STARTED = "service_started"
    SERVICE_STOPPED = "service_stopped"
    AUTHENTICATION_FAILED = "authentication_failed"
    SETTINGS_CHANGED = "settings_changed"
    CLOCK_CHANGED = "clock_changed"
    CLOCK_UNVERIFIED = "clock_unverified"
    DEVICE_PROVISIONED = "device_provisioned"
    ROOT_ROTATED = "root_rotated"
    UPDATE_ACCEPTED = "update_accepted"
    UPDATE_REFUSED = "update_refused"
    UPDATE_EXPIRY_WAIVED = "update_expiry_waived"
    UPDATE_INSTALLED = "update_installed"
    UPDATE_FAILED = "update_failed"
    UPDATE_RECOVERED = "update_recovered"
    UPDATE_ROLLED_BACK = "update_rolled_back"
    MODEL_ADDED = "model_added"
    MODEL_ACTIVATED = "model_activated"
    MODEL_DEACTIVATED = "model_deactivated"
    MODEL_REMOVED = "model_removed"
    CONTENT_QUARANTINED = "content_quarantined"
    CONTENT_HEALED = "content_healed"
    REGISTRY_REBUILT = "registry_rebuilt"
    THROTTLING_BEGAN = "throttling_began"  # heat or the power supply slows the machine down
    POWER_MODE_CHANGED = "power_mode_changed"
    STATE_RESTORED = "state_restored"
    FACTORY_RESET = "factory_reset"
    AUDIT_EXPORTED = "audit_exported"
    AUDIT_LINE_CUT = "audit_line_cut"  # a line that a power cut left half-written
    AUDIT_DAMAGED = "audit_damaged"
    AUDIT_DROPPED = "audit_dropped"  # the oldest part, to make room


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line. t: UTC to the second; monotonic_ms: since boot_id's boot, so that order survives a wrong clock.

    event: the value of an AuditEvent, or of one that a newer version knows.
    """

    seq: int
    prev: str
    t: str
    boot_id: str
    monotonic_ms: int
    event: str
    facts: Mapping[str, AuditFact] = field(default_factory=dict)

    def to_line(self) -> bytes:
        """Write the line, without its line break."""
        return canonical_bytes(self.document())

    def document(self) -> dict[str, Any]:
        """Write the entry as it stands in the log."""
        return asdict(self) | {"facts": dict(self.facts)}

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read a line. Raises InvalidInput for anything that `to_line` does not write."""
        document = parse_canonical(line, "the audit entry")
        if {name: type(value) for name, value in document.items()} != _FORM:
            raise InvalidInput(
                f"the audit entry has the fields {', '.join(document)[:200]}, expected {', '.join(_FORM)}"
            )
        return cls(**document)


_FORM = {"seq": int, "prev": str, "t": str, "boot_id": str, "monotonic_ms": int, "event": str, "facts": dict}


class AuditHead(SignedDocument):
    """Where the log ends: its last line, and the file and size up to which it was complete."""

    title: ClassVar[str] = "the audit log's head"

    seq: int = 0
    digest: str = NO_LINE
    segment: int = 1  # number of its file: the first entry in it
    size_bytes: int = 0

    @property
    def short(self) -> str:
        """The digits that stand on a technician's receipt."""
        return self.digest[:8]


def digest_of_line(line: bytes) -> str:
    """Name a line, without its line break."""
    return hashlib.sha256(line).hexdigest()


def bounded_facts(facts: Mapping[str, AuditFact]) -> dict[str, AuditFact]:
    """Make facts fit for a line whatever they are: long text is cut, with a sign that it was."""
    assert len(facts) <= MOST_FACTS, "an entry is no place for a document"
    return {name: _bounded(value) if isinstance(value, str) else value for name, value in facts.items()}


def _bounded(text: str) -> str:
    printable = text.encode(errors="backslashreplace").decode()  # names of files may hold any bytes
    return printable if len(printable) <= LONGEST_TEXT else printable[: LONGEST_TEXT - 1] + "…"
