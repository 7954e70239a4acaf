"""Where half-written things live until they are whole: one private directory per operation, on the blobs' disk.

Ownership: a workspace belongs to the process that holds its flock, which dies with the process. Whatever is found
unlocked is what a crash left behind, and is removed.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.durable import disk_errors, exclusive_lock, make_directory, try_exclusive_lock


class StagingArea:
    """The `staging/` directory of one state directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def open(self) -> None:
        """Create the directory, and remove what crashed processes left in it."""
        with disk_errors("cleaning the staging directory"):
            make_directory(self.directory)
            with exclusive_lock(self.directory):
                for entry in list(self.directory.iterdir()):
                    _remove_if_stale(entry)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Lend a new empty directory; it and all that is left in it are removed at the end."""
        with disk_errors("making a staging directory"), exclusive_lock(self.directory):
            path = Path(tempfile.mkdtemp(dir=self.directory))
            lock = try_exclusive_lock(path)  # before anyone may take it for stale
        assert lock is not None
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)  # what stays is stale and goes at the next start
            os.close(lock)

    def discard(self, path: Path) -> None:
        """Remove a directory so that no half of it is ever seen. Needs no room on the disk."""
        with exclusive_lock(self.directory):
            gone = self.directory / f"gone-{path.name}"
            path.rename(gone)
            shutil.rmtree(gone)


def _remove_if_stale(entry: Path) -> None:
    if not entry.is_dir() or entry.is_symlink():
        entry.unlink(missing_ok=True)
        return
    lock = try_exclusive_lock(entry)
    if lock is not None:
        shutil.rmtree(entry)
        os.close(lock)
