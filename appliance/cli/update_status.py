"""What this box knows of updates, read from its state directory: with or without a daemon."""

from pathlib import Path
from typing import Any

from appliance.bundle.inventory import Inventory
from appliance.bundle.moments import moment_text
from appliance.cli.registry_documents import time_text
from appliance.daemon.update_room import has_gpu
from appliance.errors import InvalidInput
from appliance.model.identity import digest_hex
from appliance.registry.model_registry import ModelRegistry
from appliance.settings import Settings
from appliance.updates.box import Box


def update_status(settings: Settings) -> dict[str, Any]:
    """Describe identity, trust, clock, the open update and every ticket. Raises an ApplianceError."""
    registry = ModelRegistry.to_read(settings.layout)
    box = Box.of(settings, registry, has_gpu=has_gpu)
    facts, clock, update = box.device_facts(), box.clock.judge(), box.journal.read()
    document: dict[str, Any] = {"sealed": facts is not None}
    if facts is not None:
        document |= {
            "serial": facts.identity.serial,
            "hardware": facts.identity.hardware,
            "site": facts.identity.site,
            "groups": ", ".join(facts.identity.groups),
            "problem": facts.problem,
            "root": facts.root.version if facts.root else 0,
            "root_fingerprint": facts.root.fingerprint if facts.root else "",
            "root_expires": facts.root.expires if facts.root else "",
            "receipt_key": facts.identity.receipt_key,
            "audit": box.audit.head().short,
        }
    document |= {
        "clock": moment_text(clock.clock),
        "clock_floor": moment_text(clock.floor),
        "clock_suspect": clock.suspect,
        "open_update": f"{update.ticket_id} ({update.stage})" if update is not None else "",
        "tickets": [
            {
                "seq": ticket.seq,
                "id": ticket.id,
                "digest": ticket.digest,
                "state": ticket.state.value,
                "reason": ticket.reason,
                "accepted_at": time_text(ticket.accepted_at),
                "items": list(ticket.items),
            }
            for ticket in box.tickets()
        ],
    }
    return document


def write_inventory(settings: Settings, file: Path) -> int:
    """Write which content this box has; returns how many files that are. Raises an ApplianceError."""
    box = Box.of(settings, ModelRegistry.to_read(settings.layout), has_gpu=has_gpu)
    files = tuple(sorted(digest_hex(digest) for digest in box.present()))
    try:
        file.write_bytes(Inventory(serial=box.identity().serial, files=files).to_bytes())
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror}", hint="name another place") from error
    return len(files)
