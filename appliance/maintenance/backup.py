"""A backup of one box: everything that is its own, in one encrypted file, while it serves.

In it: the registry, the content of models, identity with the box's key, trust and version floors, the settings of the
site and of the operator, the clock's floor, the audit log. Not in it: the software (a release brings it), engines and
views (derived), what is in quarantine or on its way.

Order: the registry first, trust after it. An update makes trust advance before the registry, so that what is stored
is a state that a box may be in; an update that is open, or begins meanwhile, ends the backup.
"""

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.bundle.moments import moment_text
from appliance.durable import disk_errors, make_directory, shared_lock
from appliance.errors import Busy, InvalidInput, NotFound
from appliance.maintenance.backup_container import new_container
from appliance.maintenance.backup_lock import Lock
from appliance.maintenance.backup_manifest import MANIFEST, STATE, BackupManifest, mode_of
from appliance.maintenance.backup_sources import (
    AuditSnapshot,
    HashedStream,
    RegistrySnapshot,
    SmallFiles,
    audit_snapshot,
    read_small_files,
    stored_content,
)
from appliance.registry.staging import StagingArea
from appliance.state_layout import StateLayout
from appliance.updates.journal import Journal

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class BackupRequest:
    """settings: the operator's file, put in if it is there. locks: every way to open the backup."""

    target: Path
    settings: Path
    locks: Sequence[Lock]


@dataclass(frozen=True, slots=True)
class _Sources:
    registry: RegistrySnapshot
    small: SmallFiles
    audit: AuditSnapshot
    blobs: Path
    content: Sequence[tuple[str, int]]

    def manifest(self, now: datetime) -> BackupManifest:
        """Say what these are."""
        registry, audit, identity = self.registry, self.audit, self.small.identity
        sizes = [
            *(size for _, size in self.content),
            *map(len, self.small.files.values()),
            *(segment.size_bytes for segment in audit.segments),
            *([len(audit.head_data)] if audit.head_data else []),
            *([registry.path.stat().st_size] if registry.path else []),
        ]
        return BackupManifest(
            created=moment_text(now),
            software=__version__,
            serial=identity.serial if identity else "",
            hardware=identity.hardware if identity else "",
            site=identity.site if identity else "",
            registry_schema=registry.schema,
            models=registry.serving,
            ticket_id=registry.ticket_id,
            ticket_seq=registry.ticket_seq,
            floors=dict(self.small.floors),
            audit_seq=audit.head.seq,
            audit_digest=audit.head.digest,
            files=len(sizes),
            size_bytes=sum(sizes),
        )


def write_backup(
    layout: StateLayout, request: BackupRequest, now: Callable[[], datetime], advance: Advance
) -> BackupManifest:
    """Write a backup. Raises AlreadyExists, NotFound (no state), Busy (an update is open), InvalidInput, Failed."""
    _require_place(layout, request.target)
    with _collected(layout, request.settings) as sources:
        manifest = sources.manifest(now())
        with new_container(request.target, request.locks) as archive:
            _Filling(archive, manifest.size_bytes, advance).fill(manifest, sources)
    return manifest


def plan_backup(layout: StateLayout, settings: Path, now: Callable[[], datetime]) -> BackupManifest:
    """Say what a backup would hold. Raises NotFound (no state), Busy (an update is open), Failed."""
    with _collected(layout, settings) as sources:
        return sources.manifest(now())


@contextmanager
def _collected(layout: StateLayout, settings: Path) -> Iterator[_Sources]:
    """Hold all that a backup is made of, as it was at one moment."""
    _require_state(layout)
    journal = Journal(layout.updates)
    _require_no_update(journal)
    content_directory = layout.blobs / "sha256"
    with disk_errors("preparing a backup"):
        make_directory(content_directory)
        make_directory(layout.staging)
    # Nothing may be collected as garbage until it is stored.
    with shared_lock(content_directory), StagingArea(layout.staging).workspace() as workspace:
        registry = RegistrySnapshot.take(layout.database, workspace)
        with disk_errors("reading this box"):
            small = read_small_files(layout, settings)
        _require_no_update(journal)
        with audit_snapshot(layout.audit) as audit:
            yield _Sources(registry, small, audit, content_directory, stored_content(content_directory))


class _Filling:
    """Puts everything into one archive, and says how far it is."""

    def __init__(self, archive: tarfile.TarFile, total: int, advance: Advance) -> None:
        self._archive = archive
        self._total = total
        self._advance = advance
        self._done = 0

    def fill(self, manifest: BackupManifest, sources: _Sources) -> None:
        """Write it all, the description first."""
        self._put_bytes(MANIFEST, manifest.to_bytes())
        self._done = 0
        for name, data in sources.small.files.items():
            self._put_bytes(name, data)
        for name, target in sources.small.links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            self._archive.addfile(link)
        if sources.registry.path is not None:
            with sources.registry.path.open("rb") as stream:
                self._put(f"{STATE}registry.db", sources.registry.path.stat().st_size, stream)
        self._put_audit(sources.audit)
        for sha256_hex, size_bytes in sources.content:
            self._put_content(sources.blobs / sha256_hex, size_bytes)

    def _put_audit(self, audit: AuditSnapshot) -> None:
        for segment in audit.segments:
            segment.stream.seek(0)
            self._put(f"{STATE}audit/{segment.name}", segment.size_bytes, segment.stream)
        if audit.head_data:
            self._put_bytes(f"{STATE}audit/head.json", audit.head_data)

    def _put_content(self, path: Path, size_bytes: int) -> None:
        with path.open("rb", buffering=0) as stream:
            hashed = HashedStream(stream, path.name)
            self._put(f"{STATE}blobs/sha256/{path.name}", size_bytes, hashed)
        hashed.require_whole()

    def _put_bytes(self, name: str, data: bytes) -> None:
        self._put(name, len(data), io.BytesIO(data))

    def _put(self, name: str, size_bytes: int, stream: Any) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size_bytes, mode_of(name)
        self._advance(f"backing up {name}", self._done, self._total)
        self._archive.addfile(entry, stream)
        self._done += size_bytes
        self._advance(f"backing up {name}", self._done, self._total)


def _require_state(layout: StateLayout) -> None:
    if not layout.root.is_dir():
        raise NotFound(f"there is no state directory {layout.root}", hint="name the right one: --state DIR")


def _require_place(layout: StateLayout, target: Path) -> None:
    if target.resolve().is_relative_to(layout.root.resolve()):
        raise InvalidInput(
            f"{target} lies in the state directory that it is a backup of", hint="name a file on another disk"
        )
    if not target.parent.is_dir():
        raise NotFound(f"there is no directory {target.parent}", hint="mount the medium, or make the directory")


def _require_no_update(journal: Journal) -> None:
    update = journal.read()
    if update is not None:
        raise Busy(
            f"the update with ticket {update.ticket_id} is open",
            hint="back up when it has ended: appliance update status",
        )
