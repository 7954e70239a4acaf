"""Which versions came in a signed bundle: the rows that a sealed box requires before it serves anything."""

import sqlite3
from dataclasses import dataclass

from appliance.model.identity import Digest, ModelName, ModelVersion


@dataclass(frozen=True, slots=True)
class SignedVersion:
    """One version that was accepted. `target`: the path that was signed; `item_digest`: of its content."""

    name: ModelName
    version: ModelVersion
    target: str
    item_digest: Digest
    ticket_digest: Digest
    accepted_at: float  # seconds since 1970


def insert_signed(connection: sqlite3.Connection, signed: SignedVersion) -> None:
    """Remember that a version is signed; the newest acceptance counts."""
    connection.execute(
        "INSERT OR REPLACE INTO signed_versions (name, version, target, item_digest, ticket_digest, accepted_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (signed.name, signed.version, signed.target, signed.item_digest, signed.ticket_digest, signed.accepted_at),
    )


def get_signed(connection: sqlite3.Connection) -> dict[tuple[ModelName, ModelVersion], SignedVersion]:
    """Return every signed version."""
    rows = connection.execute("SELECT * FROM signed_versions ORDER BY name, version").fetchall()
    return {(row["name"], row["version"]): _signed_version(row) for row in rows}


def _signed_version(row: sqlite3.Row) -> SignedVersion:
    return SignedVersion(
        ModelName(row["name"]),
        ModelVersion(row["version"]),
        row["target"],
        Digest(row["item_digest"]),
        Digest(row["ticket_digest"]),
        row["accepted_at"],
    )
