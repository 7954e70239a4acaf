"""A copy of the registry from before new software wrote it, and its way back.

Nothing has the registry open meanwhile: the selector works while no daemon runs.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from appliance.durable import copy_hashed, disk_errors, fsync_directory
from appliance.errors import Failed

_BESIDE = ("-wal", "-shm")  # SQLite's own files beside a database


def take_snapshot(database: Path, snapshot: Path) -> None:
    """Copy a registry with its write-ahead log. Raises Failed; what was cut off leaves no copy."""
    partial = snapshot.with_suffix(".tmp")
    with disk_errors("copying the registry before new software starts"):
        partial.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(partial)) as copy:
                source.backup(copy)
        except sqlite3.Error as error:
            partial.unlink(missing_ok=True)
            raise Failed(
                f"the registry {database} cannot be copied: {error}", hint="examine this box: appliance doctor"
            ) from error
        _sync(partial)
        os.replace(partial, snapshot)  # noqa: PTH105  (counted by tests of crashes)
        fsync_directory(snapshot.parent)


def restore_snapshot(snapshot: Path, database: Path) -> None:
    """Put a copy in the registry's place. Can be repeated; raises Failed."""
    partial = database.with_suffix(".restoring")
    with disk_errors("putting back the registry of the software before"):
        partial.unlink(missing_ok=True)
        with snapshot.open("rb", buffering=0) as stream:
            copy_hashed(stream, partial, mode=None)
        shutil.copymode(snapshot, partial)
        for suffix in _BESIDE:  # a log of the newer registry would be played into the older one
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        os.replace(partial, database)  # noqa: PTH105  (as above)
        fsync_directory(database.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
