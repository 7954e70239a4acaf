"""A hidden directory beside the result, where a package grows until it is whole.

Ownership: it belongs to the process that holds its flock, which dies with the process. Whatever is found unlocked is
what a killed run left behind; the next run beside it removes it. Hidden directories are no packages to any reader.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.durable import exclusive_lock, make_directory, try_exclusive_lock

PREFIX = ".appliance-convert-"


@contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """Lend a new empty directory in `parent`, which is made if missing; it is removed at the end."""
    make_directory(parent)
    with exclusive_lock(parent):  # else another run might take the new directory for a leftover
        _remove_leftovers(parent)
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = try_exclusive_lock(path)
    assert lock is not None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)  # what stays goes with the next run
        os.close(lock)


def _remove_leftovers(parent: Path) -> None:
    for entry in parent.glob(f"{PREFIX}*"):
        lock = try_exclusive_lock(entry)
        if lock is not None:
            shutil.rmtree(entry, ignore_errors=True)
            os.close(lock)
