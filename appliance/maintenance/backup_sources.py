"""What a backup reads from a box that may be serving: each part as it was at one moment."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from appliance.bundle.device import DeviceIdentity
from appliance.durable import shared_lock
from appliance.errors import Failed
from appliance.maintenance.backup_manifest import SETTINGS, STATE
from appliance.registry.aliases import SERVING
from appliance.registry.database import Database
from appliance.registry.queries import get_models
from appliance.registry.ticket_records import TicketState, get_tickets
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditHead
from appliance.updates.audit_files import AuditFiles, OpenSegment
from appliance.updates.device_store import DeviceStore
from appliance.updates.trust_store import TrustStore

_DEVICE = ("identity.json", "root.json", "receipt.key")
_FLOORS = ("floor.a", "floor.b")


@dataclass(frozen=True, slots=True)
class RegistrySnapshot:
    """A copy of the registry, and what it says. path: None if the box has none."""

    path: Path | None
    schema: int = 0
    serving: tuple[str, ...] = ()
    ticket_id: str = ""
    ticket_seq: int = 0

    @classmethod
    def take(cls, database: Path, workspace: Path) -> "RegistrySnapshot":
        """Copy a registry that may be in use, and check the copy. Raises Failed."""
        if not database.exists():
            return cls(None)
        path = workspace / "copy" / "registry.db"  # opening it locks its directory, and the workspace is locked
        path.parent.mkdir()
        with Database(database).reading() as connection, closing(sqlite3.connect(path)) as copy:
            connection.backup(copy)
        snapshot = Database(path)
        snapshot.prepare()  # whole, and of this version's schema
        with snapshot.reading() as connection:
            schema = int(connection.execute("PRAGMA user_version").fetchone()[0])
            confirmed = [ticket for ticket in get_tickets(connection) if ticket.state is TicketState.CONFIRMED]
            serving = tuple(
                f"{model.name} {model.aliases[SERVING]}"
                for model in get_models(connection)
                if SERVING in model.aliases
            )
        newest = max(confirmed, key=lambda ticket: ticket.seq, default=None)
        return cls(path, schema, serving, newest.id if newest else "", newest.seq if newest else 0)


@dataclass(frozen=True, slots=True)
class SmallFiles:
    """Name in the backup -> bytes, or target of a link. identity: None if nobody has provisioned the box."""

    files: Mapping[str, bytes]
    links: Mapping[str, str]
    identity: DeviceIdentity | None
    floors: Mapping[str, int]


def read_small_files(layout: StateLayout, settings: Path) -> SmallFiles:
    """Read identity, trust and settings. Raises UpdateRefused (STATE_DAMAGED), Failed."""
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    identity = DeviceStore(layout.device).identity()
    for path in (layout.device / name for name in _DEVICE):
        _take(files, layout, path)
    trust, floors = TrustStore(layout.trust), {}
    if trust.is_provisioned:
        floors = trust.versions()
        current = trust.current
        links[_name(layout, layout.trust / "current")] = current.name
        for path in sorted(current.rglob("*")):
            if path.is_symlink():
                links[_name(layout, path)] = str(path.readlink())
            elif path.is_file():
                _take(files, layout, path)
    for path in (layout.trust / name for name in _FLOORS):
        _take(files, layout, path)
    for path in (*sorted(layout.updates.glob("site*.toml")), layout.updates / "clock.json"):
        _take(files, layout, path)
    if settings.is_file():
        files[SETTINGS] = settings.read_bytes()
    return SmallFiles(files, links, identity, floors)


@dataclass(frozen=True, slots=True)
class AuditSnapshot:
    """The log up to `head`; b'' if there is none. The files may grow behind their sizes, and nothing else."""

    head: AuditHead
    head_data: bytes
    segments: Sequence[OpenSegment]


@contextmanager
def audit_snapshot(directory: Path) -> Iterator[AuditSnapshot]:
    """Hold the files of the audit log open as they are now. Raises InvalidInput if its head is damaged."""
    with ExitStack() as stack:
        if not directory.is_dir():
            yield AuditSnapshot(AuditHead(), b"", ())
            return
        files = AuditFiles(directory)
        with shared_lock(directory):
            segments = files.open_segments(stack)
            head = files.read_head()
        yield AuditSnapshot(head or AuditHead(), head.to_bytes() if head else b"", segments)


def stored_content(directory: Path) -> list[tuple[str, int]]:
    """Name every file of the content store and its size in bytes, in order."""
    with os.scandir(directory) as entries:
        return sorted((entry.name, entry.stat().st_size) for entry in entries if _is_content(entry))


class HashedStream:
    """A file of the content store as it is read: at its end it must be what its name says."""

    def __init__(self, stream: BinaryIO, sha256_hex: str) -> None:
        self._stream = stream
        self._expected = sha256_hex
        self._digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    def require_whole(self) -> None:
        """Raise Failed if what was read has rotted."""
        found = self._digest.hexdigest()
        if found != self._expected:
            raise Failed(
                f"content sha256:{self._expected} has rotted: it is sha256:{found}",
                hint="take it out of use, bring it again, then back up: appliance models scrub",
            )


def _is_content(entry: "os.DirEntry[str]") -> bool:
    return len(entry.name) == 64 and set(entry.name) <= set("0123456789abcdef") and entry.is_file()  # noqa: PLR2004


def _take(files: dict[str, bytes], layout: StateLayout, path: Path) -> None:
    try:
        files[_name(layout, path)] = path.read_bytes()
    except FileNotFoundError:
        return


def _name(layout: StateLayout, path: Path) -> str:
    return STATE + str(path.relative_to(layout.root))
