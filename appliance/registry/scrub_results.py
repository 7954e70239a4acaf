"""What the last reading back of everything found, kept until it is mended."""

import sqlite3
from collections.abc import Collection

from appliance.model.identity import Digest


def forget(connection: sqlite3.Connection, digests: Collection[Digest]) -> None:
    """Content is whole again: nothing is known against it."""
    for digest in digests:
        connection.execute("DELETE FROM scrub_results WHERE digest = ?", (digest,))
