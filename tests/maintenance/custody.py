"""Boxes as whoever has custody of them sees them: with a disk beside them for backups."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from appliance.maintenance.backup import BackupRequest, write_backup
from appliance.maintenance.backup_lock import Lock, Passphrase
from appliance.maintenance.backup_manifest import BackupManifest
from appliance.state_layout import StateLayout
from tests.updates.boxes import Publisher, SealedBox

SEALED_SERIAL = "A1"
PASSPHRASE = Passphrase(b"four words in a row", cost=2)  # as cheap as scrypt can be
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Cabinet:
    """One box with its owner's station and a directory for backups."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.owner = Publisher(directory / "owner")
        self.box = SealedBox(directory / "state")
        self.layout: StateLayout = self.box.layout
        self.settings = directory / "appliance.toml"

    def back_up(self, name: str = "backup", *locks: Lock) -> Path:
        target = self.directory / name
        self.back_up_to(target, *locks)
        return target

    def back_up_to(self, target: Path, *locks: Lock) -> BackupManifest:
        request = BackupRequest(target, self.settings, locks or (PASSPHRASE,))
        return write_backup(self.layout, request, lambda: NOON, silent)

    @contextmanager
    def another_box(self, name: str) -> Iterator[SealedBox]:
        """A box that nobody has provisioned."""
        box = SealedBox(self.directory / name)
        yield box
        box.close()


def silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def tree(root: Path) -> dict[str, bytes]:
    """Every file of a state and its bytes; what is derived or locks is left out, and SQLite's own files."""
    derived = ("views", "staging", "cache", "run", "exchange")
    return {
        str(path.relative_to(root)): b"" if path.name.startswith("registry.db") else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and path.relative_to(root).parts[0] not in derived
        and not path.name.endswith(("-wal", "-shm"))
    }
