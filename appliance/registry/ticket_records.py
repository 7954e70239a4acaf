"""What became of each ticket on this box, and what served before it: what a rollback goes back to."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from appliance.errors import Busy, NotFound
from appliance.model.identity import Digest, ModelName, ModelVersion

Desired = Mapping[ModelName, ModelVersion | None]  # where the alias `serving` points; None: the model had none


class TicketState(Enum):
    """TRIAL is the only one that changes by itself."""

    TRIAL = "TRIAL"  # made visible, not yet known to serve
    CONFIRMED = "CONFIRMED"
    ROLLED_BACK = "ROLLED_BACK"  # did not come up, or an operator took it back
    FAILED = "FAILED"  # did not work when it was tried; never made visible


@dataclass(frozen=True, slots=True)
class TicketRecord:
    """One ticket. Times are seconds since 1970; `reason` is '' unless it failed or was taken back.

    settings_before, settings_after: SHA-256 of the site's settings, '' where there were none; equal: no change.
    """

    seq: int
    id: str
    digest: Digest
    state: TicketState
    reason: str
    items: tuple[str, ...]
    previous: Desired
    desired: Desired
    accepted_at: float
    finished_at: float | None

    settings_before: str = ""
    settings_after: str = ""

    @property
    def changes_settings(self) -> bool:
        """Whether it puts other settings of the site in force."""
        return self.settings_before != self.settings_after


def put_ticket(connection: sqlite3.Connection, record: TicketRecord) -> None:
    """Write a ticket down; one that is tried again replaces its record."""
    connection.execute(
        "INSERT OR REPLACE INTO tickets"
        " (digest, seq, id, state, reason, items, previous, desired, accepted_at, finished_at,"
        " settings_before, settings_after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            record.digest,
            record.seq,
            record.id,
            record.state.value,
            record.reason,
            json.dumps(record.items),
            json.dumps(record.previous),
            json.dumps(record.desired),
            record.accepted_at,
            record.finished_at,
            record.settings_before,
            record.settings_after,
        ),
    )


def finish_ticket(
    connection: sqlite3.Connection, digest: Digest, state: TicketState, reason: str, now: float
) -> None:
    """Write down how it ended. Raises NotFound."""
    get_ticket(connection, digest)
    connection.execute(
        "UPDATE tickets SET state = ?, reason = ?, finished_at = ? WHERE digest = ?",
        (state.value, reason, now, digest),
    )


def find_ticket(connection: sqlite3.Connection, digest: Digest) -> TicketRecord | None:
    """Return one ticket, or None."""
    row = connection.execute("SELECT * FROM tickets WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else _ticket(row)


def get_ticket(connection: sqlite3.Connection, digest: Digest) -> TicketRecord:
    """Return one ticket. Raises NotFound."""
    found = find_ticket(connection, digest)
    if found is None:
        raise NotFound(f"the registry knows no ticket {digest}", hint="appliance update status")
    return found


def require_not_on_trial(connection: sqlite3.Connection, name: ModelName, version: ModelVersion) -> None:
    """Keep what an update that is on trial brings, and what it would go back to. Raises Busy."""
    for ticket in get_tickets(connection):
        if ticket.state is TicketState.TRIAL and version in (ticket.previous.get(name), ticket.desired.get(name)):
            raise Busy(
                f"'{name}' version {version} is in use: ticket {ticket.id} is on trial and may go back to it",
                hint="see how far it is: appliance update status",
            )


def get_tickets(connection: sqlite3.Connection) -> list[TicketRecord]:
    """Return every ticket, the newest first."""
    rows = connection.execute("SELECT * FROM tickets ORDER BY seq DESC, accepted_at DESC").fetchall()
    return [_ticket(row) for row in rows]


def _ticket(row: sqlite3.Row) -> TicketRecord:
    return TicketRecord(
        seq=row["seq"],
        id=row["id"],
        digest=Digest(row["digest"]),
        state=TicketState(row["state"]),
        reason=row["reason"],
        items=tuple(json.loads(row["items"])),
        previous=json.loads(row["previous"]),
        desired=json.loads(row["desired"]),
        accepted_at=row["accepted_at"],
        finished_at=row["finished_at"],
        settings_before=row["settings_before"],
        settings_after=row["settings_after"],
    )
