"""The crash-loop guard: a load is written down before it begins, so one that ends the process is remembered."""

import sqlite3

from appliance.model.identity import ModelName, ModelVersion


def refusal(connection: sqlite3.Connection, name: ModelName, version: ModelVersion, allowed_crashes: int) -> str:
    """Say why a version must not be loaded again, '' if it may."""
    row = connection.execute(
        "SELECT unfinished FROM loads WHERE name = ? AND version = ?", (name, version)
    ).fetchone()
    if row is None or row["unfinished"] < allowed_crashes:
        return ""
    times = "once" if row["unfinished"] == 1 else f"{row['unfinished']} times"
    return (
        f"loading version {version} of '{name}' ended the process {times} "
        f"(to try again: appliance models activate {name} {version})"
    )


def started(connection: sqlite3.Connection, name: ModelName, version: ModelVersion, now: float) -> None:
    """Count an attempt that has begun."""
    connection.execute(
        "INSERT INTO loads (name, version, unfinished, started_at, finished_at, problem)"
        " VALUES (?, ?, 1, ?, NULL, '')"
        " ON CONFLICT (name, version) DO UPDATE"
        " SET unfinished = unfinished + 1, started_at = excluded.started_at, finished_at = NULL",
        (name, version, now),
    )


def forgiven(connection: sqlite3.Connection) -> None:
    """Let attempts that ended another software's process count no more."""
    connection.execute("UPDATE loads SET unfinished = 0")


def finished(
    connection: sqlite3.Connection, name: ModelName, version: ModelVersion, problem: str, now: float
) -> None:
    """The process lived: the attempts before count no more."""
    connection.execute(
        "UPDATE loads SET unfinished = 0, finished_at = ?, problem = ? WHERE name = ? AND version = ?",
        (now, problem, name, version),
    )
