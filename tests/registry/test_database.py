"""The SQLite file: migrations, transactions, and what is said when it cannot be used."""

import contextlib
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import Busy, Failed
from appliance.registry.database import Database
from appliance.registry.migrations import MIGRATIONS

FIRST = ("CREATE TABLE t (x INTEGER)",)
SECOND = ("ALTER TABLE t ADD COLUMN y INTEGER DEFAULT 7", "CREATE TABLE u (z)")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database(tmp_path / "state" / "registry.db")
    opened.prepare([FIRST])
    return opened


def values(database: Database, statement: str = "SELECT x FROM t ORDER BY x") -> list[int]:
    with database.reading() as connection:
        return [row[0] for row in connection.execute(statement)]


def test_a_write_is_seen_by_the_next_reader(database: Database) -> None:
    with database.writing() as connection:
        connection.execute("INSERT INTO t VALUES (1)")

    assert values(database) == [1]


def test_an_error_in_the_block_undoes_all_of_it(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError), database.writing() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError

    assert values(database) == []


def test_a_reader_cannot_write(database: Database) -> None:
    with pytest.raises(Failed, match="readonly"), database.reading() as connection:
        connection.execute("INSERT INTO t VALUES (1)")


def test_a_reader_sees_one_state_throughout_and_does_not_block_the_writer(database: Database) -> None:
    with database.reading() as reader:
        before = reader.execute("SELECT count(*) FROM t").fetchone()[0]
        with database.writing() as writer:
            writer.execute("INSERT INTO t VALUES (1)")

        assert before == reader.execute("SELECT count(*) FROM t").fetchone()[0] == 0
    assert values(database) == [1]


def test_the_file_is_durable_and_keeps_its_references(database: Database) -> None:
    with database.writing() as connection:
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "foreign_keys")
        }
        mode = connection.execute("PRAGMA journal_mode").fetchone()[0]

    assert (pragmas, mode) == ({"synchronous": 2, "foreign_keys": 1}, "wal")


def test_new_migrations_run_once_and_keep_what_is_there(database: Database) -> None:
    with database.writing() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    for _ in range(2):
        database.prepare([FIRST, SECOND])

    assert values(database, "SELECT y FROM t") == [7]
    assert values(database, "PRAGMA user_version") == [2]


def test_a_migration_that_fails_leaves_nothing_of_itself(database: Database) -> None:
    with pytest.raises(Failed, match="no such table: absent"):
        database.prepare([FIRST, (*SECOND, "INSERT INTO absent VALUES (1)")])

    assert values(database, "PRAGMA user_version") == [1]
    assert values(database, "SELECT count(*) FROM sqlite_schema WHERE name = 'u'") == [0]


def test_a_schema_from_the_future_is_refused_and_left_as_it_is(database: Database) -> None:
    database.prepare([FIRST, SECOND])
    before = database.path.read_bytes()

    with pytest.raises(Failed, match=r"has schema 2, .* up to 1 \(install the newer version"):
        database.prepare([FIRST])
    assert database.path.read_bytes() == before


def test_what_is_no_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"not a database at all" * 1000)

    with pytest.raises(Failed, match=r"registry.db is damaged: file is not a database .*appliance models rebuild"):
        Database(tmp_path / "registry.db").prepare()


def test_a_database_with_damaged_pages_is_refused_at_opening(database: Database) -> None:
    with database.writing() as connection:
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(10_000)])
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(database.path.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 200] = b"\xa5" * 200
    database.path.write_bytes(content)

    with pytest.raises(Failed, match="is damaged"):
        database.prepare([FIRST])
    assert "registry.db is damaged" in database.check()


def test_a_sound_database_has_nothing_wrong(tmp_path: Path) -> None:
    database = Database(tmp_path / "registry.db")
    database.prepare(MIGRATIONS)

    assert database.check() == ""


def test_a_file_that_vanished_is_told(database: Database) -> None:
    database.path.unlink()

    with pytest.raises(Failed, match="unable to open database file"):
        values(database)


def test_a_second_writer_waits_and_then_gives_up(database: Database) -> None:
    impatient = Database(database.path, busy_timeout_s=0.01)

    with database.writing(), pytest.raises(Busy, match="is being written by another process"), impatient.writing():
        pass


def test_writers_from_many_threads_take_turns(database: Database) -> None:
    def write() -> None:
        for _ in range(20):
            with database.writing() as connection:
                highest = connection.execute("SELECT coalesce(max(x), 0) FROM t").fetchone()[0]
                connection.execute("INSERT INTO t VALUES (?)", (highest + 1,))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert values(database) == list(range(1, 81))


def test_a_copy_of_the_closed_file_is_whole(tmp_path: Path) -> None:
    database = Database(tmp_path / "registry.db")
    with database.opened([FIRST]), database.writing() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
    (tmp_path / "copy.db").write_bytes(database.path.read_bytes())

    assert values(Database(tmp_path / "copy.db")) == [1]
