"""A directory tree as a process sees it: which names lead to which file. Files and directories are known by inode."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.database_files import is_database
from tests.support.disk_journal import Content, Directory, Link, Name

_Key = tuple[int, int]  # device and inode

# This module reads while `os` is being watched.
_open, _close, _pread, _fstat = os.open, os.close, os.pread, os.fstat


class ObservedTree:
    """One tree. Nodes have numbers, which unlike those of inodes are never used again; the root is 0."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.names: dict[Name, int] = {}
        self.nodes: dict[int, Content | Directory | Link] = {}  # as they were found, or empty when they were made
        self._numbers: dict[_Key, int] = {}
        self._add(root.stat(), Directory(0o755))
        for name, path in self._walk(root, 0):
            known = self.number(path.lstat())
            self.names[name] = self._found(path) if known is None else known

    def name(self, path: Any, dir_fd: int | None = None) -> Name | None:
        """Return which name a path is; None if it lies outside of the tree."""
        parent, name = os.path.split(os.fsdecode(path).rstrip("/"))
        try:
            number = self.number(os.stat(parent or ".", dir_fd=dir_fd))
        except OSError:
            return None
        return None if number is None or not self.is_directory(number) else Name(number, name)

    def path(self, name: Name) -> Path:
        """Return where a name is now."""
        if name.directory == 0:
            return self.root / name.name
        parent = next((key for key, node in self.names.items() if node == name.directory), None)
        return (self.path(parent) if parent else Path("?")) / name.name

    def paths(self, number: int) -> Iterator[Path]:
        """Yield where a node is now."""
        for name, node in self.names.items():
            if node == number:
                yield self.path(name)

    def number(self, status: os.stat_result) -> int | None:
        """Return the number of a file or directory; None if it is not of this tree."""
        return self._numbers.get(_key(status))

    def is_directory(self, number: int) -> bool:
        return isinstance(self.nodes[number], Directory)

    def made(self, status: os.stat_result, link: str = "") -> int:
        """Number what was made just now: as an inode may be used again, never what it had before."""
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISLNK(status.st_mode):
            return self._add(status, Link(link))
        return self._add(status, Directory(mode) if stat.S_ISDIR(status.st_mode) else Content(b"", mode))

    def moved_in(self, path: Any, dir_fd: int | None) -> int:
        """Return the number of what is at a path; what was not of the tree counts as synced (a database's file)."""
        known = self.number(os.stat(path, dir_fd=dir_fd, follow_symlinks=False))
        return self._found(self.path_of(path, dir_fd)) if known is None else known

    def removed(self, status: os.stat_result) -> None:
        """Forget the inode of what has lost its last name."""
        if status.st_nlink <= 1 or stat.S_ISDIR(status.st_mode):
            self._numbers.pop(_key(status), None)

    def difference(self) -> set[str]:
        """Return the names that are there or not against what is known."""
        found = {name for name, _ in self._walk(self.root, 0)}
        return {str(self.path(name)) for name in found ^ set(self.names)}

    @staticmethod
    def path_of(path: Any, dir_fd: int | None) -> Path:
        text = os.fsdecode(path)
        return Path(text) if dir_fd is None else Path(f"/proc/self/fd/{dir_fd}") / text

    def _found(self, path: Path) -> int:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return self._add(status, Link(str(path.readlink())))
        if stat.S_ISDIR(status.st_mode):
            return self._add(status, Directory(stat.S_IMODE(status.st_mode)))
        return self._add(status, read_content(path))

    def _add(self, status: os.stat_result, content: Content | Directory | Link) -> int:
        number = len(self.nodes)
        self._numbers[_key(status)] = number
        self.nodes[number] = content
        return number

    def _walk(self, directory: Path, number: int) -> Iterator[tuple[Name, Path]]:
        for path in sorted(directory.iterdir()):
            status = path.lstat()
            is_kept = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)
            if not is_kept or is_database(path.name):
                continue
            yield Name(number, path.name), path
            if stat.S_ISDIR(status.st_mode):
                yield from self._walk(path, self._numbers.get(_key(status), -1))


def read_content(path: Path) -> Content:
    """Read a file without being watched."""
    descriptor = _open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = _fstat(descriptor)
        return Content(_pread(descriptor, status.st_size, 0), stat.S_IMODE(status.st_mode))
    finally:
        _close(descriptor)


def _key(status: os.stat_result) -> _Key:
    return status.st_dev, status.st_ino
