"""Aliases point at versions; a version that any alias points at is desired. Every change is kept as history."""

import re
import sqlite3

from appliance.errors import InvalidInput, NotFound
from appliance.model.identity import ModelName, ModelVersion
from appliance.registry import crashes
from appliance.registry.queries import get_aliases, get_version

SERVING = "serving"  # the alias whose version answers requests that name none
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")


def parse_alias(text: str) -> str:
    """Read an alias: a letter, then up to 63 letters, digits, dots, dashes, underscores. Raises InvalidInput."""
    if not _ALIAS.fullmatch(text):
        raise InvalidInput(f"invalid alias {text[:80]!r}: expected a letter, then at most 63 of A-Z a-z 0-9 . _ -")
    return text


def point(connection: sqlite3.Connection, name: ModelName, version: ModelVersion, alias: str, now: float) -> None:
    """Let an alias point at a version, which then may be tried again however often it crashed. Raises NotFound."""
    get_version(connection, name, version)
    previous = get_aliases(connection, name).get(alias)
    connection.execute(
        "UPDATE loads SET unfinished = 0 WHERE name = ? AND version = ? AND unfinished > 0", (name, version)
    )
    crashes.forgive(connection, name, version)
    if previous == version:
        return
    connection.execute(
        "INSERT INTO aliases (name, alias, version) VALUES (?, ?, ?)"
        " ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version",
        (name, alias, version),
    )
    _remember(connection, name, alias, now, previous, version)


def take_away(connection: sqlite3.Connection, name: ModelName, alias: str | None, now: float) -> None:
    """Remove one alias, or all with None. Raises NotFound if the one named is not there."""
    present = get_aliases(connection, name)
    if alias is not None and alias not in present:
        raise NotFound(f"'{name}' has no alias '{alias}', it has: {', '.join(present) or 'none'}")
    for going in present if alias is None else (alias,):
        connection.execute("DELETE FROM aliases WHERE name = ? AND alias = ?", (name, going))
        _remember(connection, name, going, now, present[going], None)


def _remember(
    connection: sqlite3.Connection,
    name: ModelName,
    alias: str,
    now: float,
    previous: ModelVersion | None,
    version: ModelVersion | None,
) -> None:
    connection.execute(
        "INSERT INTO alias_history (name, alias, at, previous, version) VALUES (?, ?, ?, ?, ?)",
        (name, alias, now, previous, version),
    )
