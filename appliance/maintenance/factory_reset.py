"""A box as it was when it had just been provisioned: nothing on it but who it is and whom it trusts.

Stays: identity with the box's key, trust with its version floors (a reset must not open the way back for old sticks),
the audit log with the reset in it, the clock's floor, the software. Goes: models, registry, tickets, the site's
settings, engines, what was in quarantine or on its way. Deleted, not overwritten: to destroy data, erase the box.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance import RELEASED
from appliance.daemon.state_exchange import StateExchange
from appliance.durable import disk_errors, fsync_directory
from appliance.maintenance.restore import present_box
from appliance.maintenance.whole_state import content_alone, copy_log, forget_registry_copies
from appliance.registry.seal import is_sealed
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.audit_log import AuditLog
from appliance.updates.update_clock import UpdateClock

STAYS = frozenset(
    {"device", "trust", "slots", "run", "exchange", "lost+found"}
)  # in place; audit and clock in copies


@dataclass(frozen=True, slots=True)
class Reset:
    """What goes, or has gone. serial: '' if nobody has provisioned the box. files, size_bytes: of what is deleted."""

    serial: str
    goes: tuple[str, ...]
    files: int
    size_bytes: int


def plan_reset(layout: StateLayout) -> Reset:
    """Say what a reset would delete. Raises Busy while new software is on trial, UpdateRefused (STATE_DAMAGED)."""
    serial = present_box(layout).serial
    with disk_errors("looking at what would be deleted"):
        roots = [path for path in _going(layout.root) if path.name != "audit"]
        roots += [layout.engines] if layout.engines.is_dir() and layout.root not in layout.engines.parents else []
        files = {path.stat().st_ino: path.stat().st_size for root in roots for path in files_below(root)}
    return Reset(serial, tuple(map(str, roots)), len(files), sum(files.values()))


def factory_reset(layout: StateLayout, now: Callable[[], datetime]) -> Reset:
    """Reset a box. The caller holds the daemon's lock. Raises as `plan_reset`, and Busy while models are stored."""
    plan = plan_reset(layout)
    exchange = StateExchange(layout.root)
    exchange.begin()
    try:
        coming = StateLayout(exchange.new)
        if any(layout.audit.glob("*.jsonl")):
            copy_log(layout.audit, coming.audit)
        if is_sealed(layout):
            facts: dict[str, str | int] = {"files": plan.files, "size_bytes": plan.size_bytes}
            AuditLog(coming.audit, now).append(AuditEvent.FACTORY_RESET, facts)
        floor = UpdateClock(layout.updates / "clock.json", now, RELEASED).judge().floor
        UpdateClock(coming.updates / "clock.json", now, RELEASED).accepted(floor)
        with content_alone(layout):
            exchange.commit("factory-reset", [path.name for path in _going(layout.root)])
    except BaseException:
        exchange.abandon()
        raise
    with disk_errors("deleting engines and copies of the registry"):
        forget_registry_copies(layout)
        if layout.engines.is_dir():
            shutil.rmtree(layout.engines)
            fsync_directory(layout.engines.parent)
    return plan


def files_below(root: Path) -> list[Path]:
    """Every file below a place, or the place itself if it is one; links are not followed."""
    if not root.is_dir() or root.is_symlink():
        return [root]
    return [path for path in root.rglob("*") if path.is_symlink() or not path.is_dir()]


def _going(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.name not in STAYS) if root.is_dir() else []
