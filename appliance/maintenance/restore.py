"""A box as it was when its backup was written: after a broken disk, a broken registry, a wrong turn.

Order: all of the backup beside what is there, checked; trust and floors raised to the box's own; the box's audit log
carried on; then one exchange (daemon/state_exchange.py). Until that is decided nothing has changed; after it, the
next start finishes it. The software slots stay; views and engines are derived again.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from appliance import RELEASED
from appliance.daemon.state_exchange import StateExchange
from appliance.durable import copy_hashed, disk_errors, hash_file, make_directory
from appliance.errors import ApplianceError, Busy, CannotWrite
from appliance.maintenance.backup_lock import Unlock
from appliance.maintenance.backup_manifest import BLOB, SETTINGS, STATE, BackupManifest, mode_of
from appliance.maintenance.backup_reading import (
    Advance,
    BackupFile,
    BackupLink,
    OpenBackup,
    opened_backup,
    require_content,
)
from appliance.maintenance.restore_rules import Permission, PresentBox, require_restorable
from appliance.maintenance.restored_trust import damage_of, is_newer, merge_trust
from appliance.maintenance.whole_state import content_alone, copy_log, forget_registry_copies
from appliance.model.identity import digest_hex
from appliance.registry.database import Database
from appliance.registry.migrations import MIGRATIONS
from appliance.registry.seal import is_sealed
from appliance.registry.signed_versions import get_signed
from appliance.registry.ticket_records import TicketState, get_tickets
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.audit_log import AuditLog
from appliance.updates.device_store import DeviceStore
from appliance.updates.journal import Journal
from appliance.updates.trust_store import TrustStore
from appliance.updates.update_clock import UpdateClock

REPLACED = (
    *("blobs", "registry.db", "registry.db-wal", "registry.db-shm", "views", "staging", "quarantine"),
    *("device", "trust", "updates", "audit"),
)
RESTORED_SETTINGS = "restored-appliance.toml"  # in the state directory: a person decides what becomes of them
_CLOCK = "clock.json"
_SPARE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done, or would be. trust_stays: the box's own trust was the newer one, and stays in force.

    reused_bytes: content that the box had already, whole. settings: where the operator's settings of the backup lie.
    """

    manifest: BackupManifest
    trust_stays: bool
    reused_bytes: int
    settings: Path | None


def plan_restore(layout: StateLayout, backup: Path, unlock: Unlock, said: Permission, advance: Advance) -> Restored:
    """Say what a restore would do; reads all of the backup, writes nothing. Raises as `restore`."""
    present = present_box(layout)
    reused, settings = 0, None
    with opened_backup(backup, unlock) as opened:
        require_restorable(opened.manifest, present, said, len(MIGRATIONS))
        done = 0
        for entry in opened.entries():
            if not isinstance(entry, BackupFile):
                continue
            known = _present_content(layout, entry.name)
            reused += entry.size_bytes if known is not None else 0
            settings = layout.root / RESTORED_SETTINGS if entry.name == SETTINGS else settings
            done += entry.size_bytes
            advance(f"looking at {entry.name}", done, opened.manifest.size_bytes)
        _require_room(layout.root, opened.manifest.size_bytes - reused)
    stays = is_newer(layout.trust, opened.manifest.floors)
    return Restored(opened.manifest, stays, reused, settings)


def restore(
    layout: StateLayout,
    backup: Path,
    unlock: Unlock,
    said: Permission,
    now: Callable[[], datetime],
    advance: Advance,
) -> Restored:
    """Restore a backup. The caller holds the daemon's lock.

    Raises InvalidInput (damaged, of another box, older), AlreadyExists (not empty), Busy (new software is on trial),
    StateUnusable (a newer version wrote it), CannotWrite. Nothing has changed then.
    """
    present = present_box(layout)
    exchange = StateExchange(layout.root)
    exchange.begin()
    try:
        with opened_backup(backup, unlock) as opened:
            require_restorable(opened.manifest, present, said, len(MIGRATIONS))
            reused = _Unpacking(layout, exchange.new, advance).run(opened)
        coming = StateLayout(exchange.new)
        Database(coming.database).prepare()  # sound, and of this version's schema, before anything is given up
        stays = merge_trust(layout.trust, coming.trust) if coming.trust.is_dir() else False
        if stays:
            _forget_what_nobody_signs(coming)
        _keep_time(layout, coming, now)
        _carry_on_the_log(layout, coming, opened.manifest, now)
        with content_alone(layout):
            exchange.commit("restore", REPLACED)
    except BaseException:
        exchange.abandon()
        raise
    with disk_errors("deleting copies of the registry before"):
        forget_registry_copies(layout)
    settings = layout.root / RESTORED_SETTINGS
    return Restored(opened.manifest, stays, reused, settings if settings.exists() else None)


def present_box(layout: StateLayout) -> PresentBox:
    """Say what is here. Raises UpdateRefused if a sealed box cannot say who it is, Busy during a trial."""
    try:
        update = Journal(layout.updates).read()
    except ApplianceError:  # a damaged journal is one of the reasons to restore
        update = None
    if update is not None and update.software:
        raise Busy(
            f"new software is on trial, with ticket {update.ticket_id}",
            hint="let it end, at most three starts: systemctl start appliance, then appliance update status",
        )
    identity = DeviceStore(layout.device).identity()
    stored = layout.database.exists() or any(layout.blobs.glob("sha256/*"))
    return PresentBox(
        is_empty=not is_sealed(layout) and not stored,
        serial=identity.serial if identity else "",
        ticket_seq=_newest_ticket(layout),
        problem=damage_of(layout.trust),
    )


def _newest_ticket(layout: StateLayout) -> int:
    if not layout.database.exists():
        return 0
    try:
        with Database(layout.database).reading() as connection:
            confirmed = (each.seq for each in get_tickets(connection) if each.state is TicketState.CONFIRMED)
            return max(confirmed, default=0)
    except ApplianceError:  # a damaged registry is the reason to restore
        return 0


class _Unpacking:
    """Puts the files of a backup below a new root; content that the box has whole is linked, not copied."""

    def __init__(self, layout: StateLayout, new: Path, advance: Advance) -> None:
        self._layout = layout
        self._new = new
        self._advance = advance

    def run(self, opened: OpenBackup) -> int:
        """Unpack all of it, durably but for the names. Returns how many bytes were there already."""
        done, reused, total = 0, 0, opened.manifest.size_bytes
        for entry in opened.entries():
            target = self._place(entry.name)
            with disk_errors(f"restoring {entry.name}"):
                make_directory(target.parent)
                if isinstance(entry, BackupLink):
                    target.symlink_to(entry.target)
                    continue
                present = _present_content(self._layout, entry.name)
                if present is not None:
                    os.link(present, target)
                    reused += entry.size_bytes
                else:
                    found, _ = copy_hashed(entry.stream, target, mode=mode_of(entry.name))
                    require_content(entry.name, found)
            done += entry.size_bytes
            self._advance(f"restoring {entry.name}", done, total)
        return reused

    def _place(self, name: str) -> Path:
        return self._new / (RESTORED_SETTINGS if name == SETTINGS else name.removeprefix(STATE))


def _present_content(layout: StateLayout, name: str) -> Path | None:
    """Find content of this name on the box, if it is whole there."""
    named = BLOB.fullmatch(name)
    path = layout.blobs / "sha256" / named[1] if named else None
    return path if named and path is not None and path.is_file() and hash_file(path) == named[1] else None


def _require_room(root: Path, needed_bytes: int) -> None:
    place = next(path for path in (root, *root.parents) if path.is_dir())
    free_bytes = shutil.disk_usage(place).free
    if free_bytes < needed_bytes + _SPARE_BYTES:
        raise CannotWrite(
            f"the backup needs {needed_bytes + _SPARE_BYTES} bytes on the disk of {root}, {free_bytes} are free",
            hint="make room, or reset the box first, which keeps its identity and trust: appliance factory-reset",
        )


def _forget_what_nobody_signs(coming: StateLayout) -> None:
    """Under trust that is newer than the backup, only what it still lists counts as signed, as after a rebuild."""
    trust = TrustStore(coming.trust)
    with Database(coming.database).writing() as connection:
        for signed in get_signed(connection).values():
            if not trust.signs(signed.target, digest_hex(signed.item_digest)):
                connection.execute(
                    "DELETE FROM signed_versions WHERE name = ? AND version = ?", (signed.name, signed.version)
                )


def _keep_time(layout: StateLayout, coming: StateLayout, now: Callable[[], datetime]) -> None:
    known = UpdateClock(layout.updates / _CLOCK, now, RELEASED).judge().floor
    UpdateClock(coming.updates / _CLOCK, now, RELEASED).accepted(known)


def _carry_on_the_log(
    layout: StateLayout, coming: StateLayout, manifest: BackupManifest, now: Callable[[], datetime]
) -> None:
    """The box's own log goes on, if it has one, else that of the backup; the restore stands in it."""
    if any(layout.audit.glob("*.jsonl")):
        copy_log(layout.audit, coming.audit)
    if is_sealed(coming):
        AuditLog(coming.audit, now).append(
            AuditEvent.STATE_RESTORED,
            {
                "backup_written": manifest.created,
                "ticket_seq": manifest.ticket_seq,
                "backup_audit_seq": manifest.audit_seq,
                "backup_audit_digest": manifest.audit_digest,
            },
        )
