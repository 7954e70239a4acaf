"""The files of SQLite databases, which SQLite itself keeps on the disk: known by the endings of their names."""

import os
import stat
from pathlib import Path

from tests.support.disk_journal import Content

_ENDINGS = (".db", ".db-wal", ".db-journal", ".db-shm")
_SYNCED = ("", "-wal", "-journal")
_open = os.open  # read while `os` is being watched


class DatabaseFiles:
    """The databases below one directory."""

    def __init__(self, root: Path) -> None:
        self._places = {path for path in root.rglob("*.db") if path.is_file()}
        self._readers: dict[tuple[int, int], int] = {}
        self._known: dict[Content, Content] = {}  # equal contents are kept once

    def add(self, place: Path) -> None:
        """Watch one more."""
        self._places.add(place)

    def contents(self) -> dict[Path, Content]:
        """Read them all."""
        places = [place.with_name(place.name + ending) for place in self._places for ending in _SYNCED]
        return {place: self._content(place) for place in places if place.is_file()}

    def _content(self, path: Path) -> Content:
        # Closing any descriptor of a file lets go of all locks that the process has on it: these stay open.
        status = path.stat()
        key = status.st_dev, status.st_ino
        if key not in self._readers:
            self._readers[key] = _open(path, os.O_RDONLY | os.O_CLOEXEC)
        content = Content(os.pread(self._readers[key], status.st_size, 0), stat.S_IMODE(status.st_mode))
        return self._known.setdefault(content, content)


def is_database(name: str) -> bool:
    return name.endswith(_ENDINGS)
