"""Whether an audit log is what was written. Pure: lines come in, findings come out."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from appliance.errors import InvalidInput
from appliance.updates.audit_entry import (
    LONGEST_LINE_BYTES,
    NO_LINE,
    AuditEntry,
    AuditEvent,
    AuditHead,
    digest_of_line,
)


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line, without its line break, and where it stands: `file`, and `number` in it from 1."""

    file: str
    number: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.file} line {self.number}"


class Rest(Enum):
    """What stands behind the line that the head names."""

    NOTHING = "nothing"
    ONE_ENTRY = "one entry"  # the process ended before it could move the head
    TORN = "torn"  # the power failed while a line was written
    FOREIGN = "foreign"  # no crash leaves this


def judge_rest(rest: bytes, head: AuditHead) -> Rest:
    """Say how the bytes behind the head came there: the head is moved before the next line is begun."""
    if not rest:
        return Rest.NOTHING
    if len(rest) > LONGEST_LINE_BYTES:
        return Rest.FOREIGN
    entries = [readable_entry(line) for line in rest.split(b"\n")[:-1]]
    if not any(entries):
        return Rest.TORN
    (first, *more) = entries
    follows = first is not None and (first.seq, first.prev) == (head.seq + 1, head.digest)
    return Rest.ONE_ENTRY if follows and not more and rest.endswith(b"\n") else Rest.FOREIGN


def chain_findings(lines: Iterable[AuditLine], head: AuditHead | None, witnesses: Collection[str] = ()) -> list[str]:
    """Name every place where lines were changed, deleted, moved or added, and whether the end is missing.

    witnesses: digests that receipts show, whole or their first digits; each must be that of a line.
    """
    walk = _Walk(witnesses)
    for line in lines:
        walk.take(line)
    walk.check_beginning()
    walk.check_end(head)
    walk.check_witnesses()
    return walk.findings


def readable_entry(line: bytes) -> AuditEntry | None:
    """Read a line; None if it is not an entry."""
    try:
        return AuditEntry.parse(line)
    except InvalidInput:
        return None


class _Walk:
    """One pass over the lines; keeps nothing but the line before."""

    def __init__(self, witnesses: Collection[str]) -> None:
        self.findings: list[str] = []
        self._sought = set(witnesses)
        self._first: AuditEntry | None = None
        self._dropped: set[tuple[int, str]] = set()
        self._last_seq = 0
        self._last_digest = ""  # '' where it is known already that something is wrong
        self._last_prev = ""
        self._last_line: AuditLine | None = None

    def take(self, line: AuditLine) -> None:
        """Check one line against the one before it."""
        entry = readable_entry(line.data)
        if entry is None:
            self.findings.append(f"{line}: is not an audit entry; it was changed or inserted")
            self._last_seq, self._last_digest, self._last_line = self._last_seq + 1, "", line
            return
        if self._last_line is not None:
            self._check_link(line, entry)
        elif self._first is None:
            self._first = entry
        if entry.event == AuditEvent.AUDIT_DROPPED:
            self._dropped.add((int(entry.facts.get("last_seq", 0)), str(entry.facts.get("digest", ""))))
        if entry.event == AuditEvent.AUDIT_DAMAGED:
            self.findings.append(f"{line}: the log was found damaged then: {entry.facts.get('reason', '')}")
        self._last_seq, self._last_prev, self._last_line = entry.seq, entry.prev, line
        self._last_digest = digest_of_line(line.data)
        self._sought = {digits for digits in self._sought if not self._last_digest.startswith(digits)}

    def check_beginning(self) -> None:
        """The first entry is number 1, or an entry says that those before it were dropped."""
        first = self._first
        if first is None or (first.seq, first.prev) == (1, NO_LINE) or (first.seq - 1, first.prev) in self._dropped:
            return
        self.findings.append(
            f"the log begins with entry {first.seq}; no entry says that those before it were dropped"
        )

    def check_end(self, head: AuditHead | None) -> None:
        """The last line is the one that the head names, or the one after it."""
        if head is None:
            if self._last_seq > 1:
                self.findings.append(f"head.json is missing, so that nothing proves where {self._last_line} ends")
        elif head.seq > self._last_seq:
            self.findings.append(
                f"the log ends with entry {self._last_seq}, its head names {head.seq}: the end was cut"
            )
        elif head.seq == self._last_seq:
            if self._last_digest not in ("", head.digest):
                self.findings.append(f"{self._last_line}: was changed: it is not the line that the head names")
        elif (head.seq + 1, head.digest) != (self._last_seq, self._last_prev):
            self.findings.append(f"{self._last_line}: entry {self._last_seq} was added; the head names {head.seq}")

    def check_witnesses(self) -> None:
        """Every digest that a receipt shows was met."""
        self.findings += [
            f"no entry has the digest {digits}: the receipt is from another log, or its entry was dropped since"
            for digits in sorted(self._sought)
        ]

    def _check_link(self, line: AuditLine, entry: AuditEntry) -> None:
        if entry.seq != self._last_seq + 1:
            self.findings.append(
                f"{line}: is entry {entry.seq}, expected {self._last_seq + 1}: lines were deleted, inserted or moved"
            )
        elif self._last_digest not in ("", entry.prev):
            self.findings.append(f"{self._last_line}: was changed: it is not the line that the next one names")
