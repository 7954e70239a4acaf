"""Which versions came in a signed bundle: the rows that a sealed box requires before it serves anything."""

import sqlite3
from dataclasses import dataclass

from appliance.model.identity import Digest, ModelName, ModelVersion

BRING_SIGNED = "have it signed and cut into a bundle, then: appliance update apply MEDIUM"


@dataclass(frozen=True, slots=True)
class SignedVersion:
    """One version that was accepted. `target`: the path that was signed; `item_digest`: of its content.

    ticket_digest: None where the registry was rebuilt, which knows the signature but no ticket.
    """

    name: ModelName
    version: ModelVersion
    target: str
    item_digest: Digest
    ticket_digest: Digest | None
    accepted_at: float  # seconds since 1970


def insert_signed(connection: sqlite3.Connection, signed: SignedVersion) -> None:
    """Remember that a version is signed; the newest acceptance counts."""
    connection.execute(
        "INSERT OR REPLACE INTO signed_versions (name, version, target, item_digest, ticket_digest, accepted_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            signed.name,
            signed.version,
            signed.target,
            signed.item_digest,
            signed.ticket_digest or "",
            signed.accepted_at,
        ),
    )


def get_signed(connection: sqlite3.Connection) -> dict[tuple[ModelName, ModelVersion], SignedVersion]:
    """Return every signed version."""
    rows = connection.execute("SELECT * FROM signed_versions ORDER BY name, version").fetchall()
    return {(row["name"], row["version"]): _signed_version(row) for row in rows}


def unsigned(name: ModelName, version: ModelVersion) -> str:
    """Say why a sealed box does not serve a version."""
    return f"this box is sealed, and version {version} of '{name}' came in no signed bundle"


def _signed_version(row: sqlite3.Row) -> SignedVersion:
    return SignedVersion(
        ModelName(row["name"]),
        ModelVersion(row["version"]),
        row["target"],
        Digest(row["item_digest"]),
        Digest(row["ticket_digest"]) if row["ticket_digest"] else None,
        row["accepted_at"],
    )
