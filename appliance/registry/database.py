"""The registry's SQLite file: opened, brought to the current schema, read and written in whole transactions.

Invariants: a committed transaction survives a power cut (WAL, synchronous=FULL); there is one writer at a time (BEGIN
IMMEDIATE), readers never wait for it; every connection is closed by the block that opened it, so any thread may call.
One idle read-only connection keeps the `-wal` and `-shm` files from being deleted: SQLite could not make them again
on a full disk, and then not even read.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

from appliance.durable import disk_errors, exclusive_lock, fsync_directory, make_directory
from appliance.errors import ApplianceError, Busy, CannotWrite, Failed, StateUnusable
from appliance.registry.migrations import MIGRATIONS

_DAMAGED = frozenset({"SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_FORMAT"})
_WAITED = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED"})
_NOT_WRITABLE = frozenset({"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"})
_NO_SPACE = frozenset({"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE"})


class DatabaseDamaged(StateUnusable):
    """The file is there, and is no sound database."""


class Database:
    """One SQLite file."""

    def __init__(self, path: Path, *, busy_timeout_s: float = 30.0) -> None:
        self.path = path
        self._busy_timeout_s = busy_timeout_s

    @contextmanager
    def opened(self, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> Iterator[None]:
        """Keep the file ready for reading and writing meanwhile. Raises Failed as `prepare` does."""
        self.prepare(migrations)
        with self._translated():
            keeper = self._connect("ro", check_same_thread=False)
        with closing(keeper):
            with self._translated():
                _schema(keeper)  # only reading attaches it to the two files
            yield
            with contextlib.suppress(sqlite3.Error), closing(self._connect("rw")) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # so that the file alone is a whole copy

    def prepare(self, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
        """Create the file if it is missing, check it, bring it to the newest schema. Raises Failed."""
        with disk_errors(f"opening {self.path}"):
            make_directory(self.path.parent)
            # Switching to WAL and migrating do not wait for each other by themselves.
            with exclusive_lock(self.path.parent), self._translated(), closing(self._connect("rwc")) as connection:
                self._check_not_from_the_future(connection, len(migrations))
                connection.execute("PRAGMA journal_mode = WAL")
                self._migrate(connection, migrations)
                self._check_integrity(connection, "quick_check")

    def set_aside(self) -> Path | None:
        """Move a damaged file away, with its log, and return where it is now; None if it is sound or not there.

        Nobody else may have it open. The log goes first: beside a new database it would spoil that one.
        """
        try:
            if self.path.exists():
                self.prepare()
        except DatabaseDamaged:
            with disk_errors(f"moving {self.path} away"):
                return self._moved_away()
        return None

    def _moved_away(self) -> Path:
        taken = {path.name for path in self.path.parent.iterdir()}
        number = next(n for n in count(1) if f"{self.path.name}.damaged-{n}" not in taken)
        target = self.path.with_name(f"{self.path.name}.damaged-{number}")
        for suffix in ("-wal", "-shm", ""):
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                source.rename(target.with_name(target.name + suffix))
        fsync_directory(self.path.parent)
        return target

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees one state of the database throughout and cannot change it.

        Whoever reads what was not prepared may find an older form: what it lacks is Failed, the rest can be read.
        """
        with self._translated(), closing(self._connect("ro")) as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorname", "") == "SQLITE_ERROR":  # no such table, no such column
                    self._check_not_from_the_past(connection, len(MIGRATIONS), error)
                raise

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside a transaction: committed at the end, rolled back on any error.

        Raises Busy if another writer does not finish in time.
        """
        with self._translated(), closing(self._connect("rw")) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def check(self) -> str:
        """Examine the whole file; returns what is wrong with it, '' if nothing."""
        try:
            with self.reading() as connection:
                self._check_integrity(connection, "integrity_check")
                broken = connection.execute("PRAGMA foreign_key_check").fetchall()
        except ApplianceError as error:
            return str(error)
        return f"{self.path}: {len(broken)} rows refer to versions that are not there" if broken else ""

    def _connect(self, mode: str, *, check_same_thread: bool = True) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        if mode == "ro" and self._is_at_rest_and_not_ours():
            address += "&immutable=1"
        connection = sqlite3.connect(
            address,
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=check_same_thread,
        )
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_at_rest_and_not_ours(self) -> bool:
        """Whether nobody has the file open and we may not make the two files beside it: only then it stands alone."""
        wal = self.path.with_name(f"{self.path.name}-wal")
        return not wal.exists() and not os.access(self.path.parent, os.W_OK, effective_ids=True)

    def _migrate(self, connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
        for number, statements in enumerate(migrations, start=1):
            if number <= _schema(connection):
                continue
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in statements:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")  # part of the transaction
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _check_not_from_the_future(self, connection: sqlite3.Connection, newest: int) -> None:
        found = _schema(connection)
        if found > newest:
            raise StateUnusable(
                f"{self.path} has schema {found}, this version of the appliance knows schemas up to {newest}",
                hint="install the newer version of the appliance again, or name another state directory",
            )

    def _check_not_from_the_past(self, connection: sqlite3.Connection, newest: int, error: sqlite3.Error) -> None:
        found = _schema(connection)
        if found < newest:
            raise Failed(
                f"{self.path} has schema {found}, this version of the appliance reads schema {newest}: {error}",
                hint="the service brings it there when it starts: systemctl restart appliance (without a unit: "
                "appliance serve)",
            ) from error

    def _check_integrity(self, connection: sqlite3.Connection, pragma: str) -> None:
        found = connection.execute(f"PRAGMA {pragma}(1)").fetchone()[0]
        if found != "ok":
            raise self._damaged(str(found))

    def _damaged(self, reason: str) -> DatabaseDamaged:
        return DatabaseDamaged(
            f"{self.path} is damaged: {reason}",
            hint="stop the appliance, then restore a copy of the file, or make it anew from the stored models with: "
            "appliance models rebuild",
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """SQLite's errors in our words."""
        try:
            yield
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            primary = "_".join(name.split("_")[:2])  # SQLITE_BUSY_SNAPSHOT is a kind of SQLITE_BUSY
            if primary in _DAMAGED:
                raise self._damaged(str(error)) from error
            if primary in _WAITED:
                raise Busy(f"{self.path} is being written by another process", hint="try again") from error
            hint = "make room on the disk" if name in _NO_SPACE else "look at the disk and at the file's owner"
            kind = CannotWrite if name in _NO_SPACE or primary in _NOT_WRITABLE else Failed
            raise kind(f"{self.path}: {error} ({name or type(error).__name__})", hint=hint) from error


def _schema(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
