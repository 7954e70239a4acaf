"""What scrubs found: damaged content until it has come back, and when everything was read last."""

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass

from appliance.model.identity import Digest


@dataclass(frozen=True, slots=True)
class Finding:
    """Content that is not what its name says. `quarantined`: it was moved away; else it was missing."""

    digest: Digest
    problem: str
    quarantined: bool
    at: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class ScrubRun:
    """One reading of everything. Times are seconds since 1970; `findings`: how many were new."""

    started_at: float
    finished_at: float
    files: int
    size_bytes: int
    findings: int


def record(connection: sqlite3.Connection, finding: Finding) -> None:
    """Remember damaged content until `forget`. What is missing after it was moved into quarantine stays so named."""
    connection.execute(
        "INSERT INTO scrub_results (digest, problem, quarantined, at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (digest) DO UPDATE SET problem = excluded.problem, quarantined = 1, at = excluded.at"
        " WHERE excluded.quarantined = 1",
        (finding.digest, finding.problem, int(finding.quarantined), finding.at),
    )


def forget(connection: sqlite3.Connection, digests: Collection[Digest]) -> None:
    """Content is whole again, or nobody needs it: nothing is known against it."""
    connection.executemany("DELETE FROM scrub_results WHERE digest = ?", [(digest,) for digest in digests])


def get_findings(connection: sqlite3.Connection) -> dict[Digest, Finding]:
    """Return everything that is damaged or missing, as far as scrubs know."""
    rows = connection.execute("SELECT * FROM scrub_results ORDER BY digest").fetchall()
    return {
        Digest(row["digest"]): Finding(Digest(row["digest"]), row["problem"], bool(row["quarantined"]), row["at"])
        for row in rows
    }


def record_run(connection: sqlite3.Connection, run: ScrubRun) -> None:
    """Remember that everything was read."""
    connection.execute(
        "INSERT INTO scrubs (started_at, finished_at, files, size_bytes, findings) VALUES (?, ?, ?, ?, ?)",
        (run.started_at, run.finished_at, run.files, run.size_bytes, run.findings),
    )


def last_run(connection: sqlite3.Connection) -> ScrubRun | None:
    """Return the last reading of everything, or None."""
    row = connection.execute("SELECT * FROM scrubs ORDER BY id DESC LIMIT 1").fetchone()
    if row is None:
        return None
    return ScrubRun(row["started_at"], row["finished_at"], row["files"], row["size_bytes"], row["findings"])
