"""What updates did here: every ticket, the receipts that still wait, and the log. No key, no token, no signature."""

import json
from typing import Any

from appliance.bundle.moments import moment_text
from appliance.bundle.receipt import SignedReceipt
from appliance.errors import ApplianceError
from appliance.maintenance.support.part import Content, json_content, newest_lines
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.ticket_records import TicketRecord
from appliance.settings import Settings
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEntry
from appliance.updates.audit_log import AuditLog
from appliance.updates.box import Box, utc_now

# Facts of the log that are numbers, names and sentences of ours; the key of receipts is none.
_FACTS = frozenset(
    {
        *("after", "alias", "backup_written", "bytes", "class", "clock", "digest", "files", "fingerprint", "floor"),
        *("from", "groups", "hardware", "hottest_celsius", "install_by", "items", "model", "models", "power_mode"),
        *("reason", "root_sha256", "root_version", "seconds", "seq", "serial", "settings", "site", "software"),
        *("throttling", "ticket", "ticket_seq", "to", "version", "what"),
    }
)


def updates_content(settings: Settings) -> Content:
    """Describe identity, trust, clock, the open update, every ticket and every kept receipt."""
    registry = ModelRegistry.to_read(settings.layout)
    box = Box.of(settings, registry, has_gpu=lambda: False)  # asked of tickets that are judged only
    facts, clock, update = box.device_facts(), box.clock.judge(), box.journal.read()
    document: dict[str, Any] = {
        "sealed": facts is not None,
        "clock": moment_text(clock.clock),
        "clock_floor": moment_text(clock.floor),
        "clock_suspect": clock.suspect,
        "open_update": None if update is None else {"ticket": update.ticket_id, "stage": update.stage},
        "tickets": [_ticket(ticket) for ticket in box.tickets()],
        "receipts": _receipts(settings.layout),
    }
    if facts is not None:
        document |= {
            "serial": facts.identity.serial,
            "hardware": facts.identity.hardware,
            "site": facts.identity.site,
            "problem": facts.problem,
            "root_version": facts.root.version if facts.root else None,
            "root_fingerprint": facts.root.fingerprint if facts.root else None,
            "root_expires": facts.root.expires if facts.root else None,
        }
    return json_content(document)


def audit_content(layout: StateLayout, room_bytes: int) -> Content:
    """Write the log's entries, one a line, and before them whether it is whole."""
    log = AuditLog(layout.audit, utc_now)
    findings = log.verify()
    whole = json.dumps({"whole": not findings, "findings": findings})
    first = whole.encode() + b"\n"
    lines = [json.dumps(_entry(entry)) for entry in log.entries()]
    kept = newest_lines(lines, room_bytes - len(first), "entries")
    return Content(first + kept.data, kept.cut)


def _ticket(ticket: TicketRecord) -> dict[str, Any]:
    return {
        "seq": ticket.seq,
        "id": ticket.id,
        "digest": ticket.digest,
        "state": ticket.state.value,
        "reason": ticket.reason,
        "items": list(ticket.items),
        "accepted_unix_s": int(ticket.accepted_at),
        "finished_unix_s": None if ticket.finished_at is None else int(ticket.finished_at),
    }


def _receipts(layout: StateLayout) -> list[dict[str, Any]]:
    if not layout.receipts.is_dir():
        return []
    return [_receipt(path.read_bytes()) for path in sorted(layout.receipts.glob("*-*.json"))]


def _receipt(data: bytes) -> dict[str, Any]:
    try:
        receipt = SignedReceipt.parse(data).receipt
    except ApplianceError as error:
        return {"problem": error.message}
    return {
        "ticket_id": receipt.ticket_id,
        "ticket_seq": receipt.ticket_seq,
        "code": receipt.code,
        "result": receipt.result,
        "message": receipt.message,
        "time": receipt.time,
        "clock": receipt.clock,
        "software": receipt.software,
        "audit_seq": receipt.audit_seq,
        "audit_head": receipt.audit_head,
    }


def _entry(entry: AuditEntry) -> dict[str, Any]:
    facts = {name: value for name, value in entry.facts.items() if name in _FACTS}
    withheld = sorted(name for name in entry.facts if name not in _FACTS)
    told = {"seq": entry.seq, "t": entry.t, "boot": entry.boot_id[:8], "event": entry.event, "facts": facts}
    return told | ({"withheld": withheld} if withheld else {})
