"""Versions that were executing when a process ended: rows on a connection, and the rule that judges them.

Time between crashes is the kernel's, which no clock that is set can change; crashes before and after a start of the
machine are not compared, because power cuts are normal.
"""

import sqlite3
from collections.abc import Sequence

from appliance.model.identity import ModelName, ModelVersion
from appliance.registry.records import Crash, CrashedVersion

MOST_CRASHES = 3  # of one version ...
WITHIN_S = 3600.0  # ... in this time, before it is not loaded any more
_KEPT = 20  # of one version


def too_many(crashes: Sequence[Crash]) -> bool:
    """Whether a version has crashed too often in too short a time, ever since it was activated. Oldest first."""
    return any(
        first.boot == last.boot and last.uptime_s - first.uptime_s <= WITHIN_S
        for first, last in zip(crashes, crashes[MOST_CRASHES - 1 :], strict=False)
    )


def record(connection: sqlite3.Connection, crash: Crash, name: ModelName, version: ModelVersion, digest: str) -> None:
    """Write down one version of a process that ended, once. Another content under that number is not blamed."""
    connection.execute(
        "INSERT OR IGNORE INTO crashes (process, name, version, boot, uptime_s, at, hung)"
        " SELECT ?, name, version, ?, ?, ?, ? FROM versions WHERE name = ? AND version = ? AND digest = ?",
        (crash.process, crash.boot, crash.uptime_s, crash.at, crash.hung, name, version, digest),
    )
    connection.execute(
        "DELETE FROM crashes WHERE name = ? AND version = ? AND rowid NOT IN"
        " (SELECT rowid FROM crashes WHERE name = ? AND version = ? ORDER BY rowid DESC LIMIT ?)",
        (name, version, name, version, _KEPT),
    )


def forgive(connection: sqlite3.Connection, name: ModelName, version: ModelVersion) -> None:
    """Let the crashes of one version count no more."""
    connection.execute("DELETE FROM crashes WHERE name = ? AND version = ?", (name, version))


def forgive_all(connection: sqlite3.Connection) -> None:
    """Let no crash count any more."""
    connection.execute("DELETE FROM crashes")


def get_crashed(connection: sqlite3.Connection) -> list[CrashedVersion]:
    """Return every version that crashed since it was activated, by name and version."""
    rows = connection.execute("SELECT * FROM crashes ORDER BY name, version, rowid").fetchall()
    keys = dict.fromkeys((ModelName(row["name"]), ModelVersion(row["version"])) for row in rows)
    return [_crashed(rows, *key) for key in keys]


def refusal(connection: sqlite3.Connection, name: ModelName, version: ModelVersion) -> str:
    """Say why a version must not be loaded again, '' if it may."""
    for crashed in get_crashed(connection):
        if (crashed.name, crashed.version) == (name, version) and crashed.refused:
            return (
                f"version {version} of '{name}' was executing when the process ended, "
                f"{MOST_CRASHES} times within an hour{crashed.beside_text} (to try again: {crashed.remedy})"
            )
    return ""


def _crashed(rows: Sequence[sqlite3.Row], name: ModelName, version: ModelVersion) -> CrashedVersion:
    own = [row for row in rows if (row["name"], row["version"]) == (name, version)]
    processes = {row["process"] for row in own}
    beside = {
        (ModelName(row["name"]), ModelVersion(row["version"]))
        for row in rows
        if row["process"] in processes and (row["name"], row["version"]) != (name, version)
    }
    crashes = tuple(Crash(row["process"], row["boot"], row["uptime_s"], row["at"], bool(row["hung"])) for row in own)
    return CrashedVersion(name, version, crashes, tuple(sorted(beside)), refused=too_many(crashes))
