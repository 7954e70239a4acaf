"""What the registry's database knows of built engines: above all the digest that an engine's file must have."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Self

from appliance.model.engine import EngineRecord
from appliance.registry.database import Database

_COLUMNS = tuple(EngineRecord.__dataclass_fields__)
_INSERT = f"INSERT OR REPLACE INTO engines ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608


class EngineRecords:
    """The table of engines: the ledger of an EngineStore. Each change is one durable transaction."""

    def __init__(self, database: Database) -> None:
        """`database` is open (`Database.opened`) as long as this is used."""
        self._database = database

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open the database of a state directory, made where it is missing. Raises Failed."""
        database = Database(path)
        with database.opened():
            yield cls(database)

    def find(self, key: str) -> EngineRecord | None:
        """Return the row of one engine."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT * FROM engines WHERE key = ?", (key,)).fetchone()
        return None if row is None else _record(row)

    def all(self) -> list[EngineRecord]:
        """Return every row, least recently used first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM engines ORDER BY used_at, key").fetchall()
        return [_record(row) for row in rows]

    def record(self, record: EngineRecord) -> None:
        """Write a row, in place of the one with the same key."""
        values = asdict(record) | {"facts": json.dumps(record.facts)}
        with self._database.writing() as connection:
            connection.execute(_INSERT, [values[column] for column in _COLUMNS])

    def used(self, key: str, at: float, device_bytes: int) -> None:
        """Note that an engine was loaded at `at` (seconds since 1970); 0 device_bytes leaves what was measured."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE engines SET used_at = ?, device_bytes = coalesce(nullif(?, 0), device_bytes) WHERE key = ?",
                (at, device_bytes, key),
            )

    def forget(self, key: str) -> None:
        """Remove a row; nothing happens if there is none."""
        with self._database.writing() as connection:
            connection.execute("DELETE FROM engines WHERE key = ?", (key,))


def _record(row: sqlite3.Row) -> EngineRecord:
    return EngineRecord(**{column: row[column] for column in _COLUMNS} | {"facts": json.loads(row["facts"])})
