"""Writes down what this process does to a directory tree: changes of names, and which bytes were synced when.

Functions of `os` are replaced; files opened by `open`, `pathlib` or `io` are heard of through the interpreter's audit
events; SQLite reports each statement before it runs. Directories are known by their inode, so that relative paths,
`dir_fd` and links need no care. What still goes past it (other processes, C code) is found at the end, as the tree is
compared with what was written down. Only for a child of fork: an audit hook stays for ever.
"""

import os
import sqlite3
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.disk_journal import Change, Content, Directory, DiskJournal, Link, Name, Operation

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_DATABASE_FILES = ("", "-wal", "-journal")
_DATABASE_ENDINGS = (".db", ".db-wal", ".db-journal", ".db-shm")

_Key = tuple[int, int]  # device and inode


class DiskRecorder:
    """Records one tree. `root` must be there, and counts as lying on the disk with all that is in it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers: dict[_Key, int] = {}
        self._directories: set[int] = set()
        self._names: dict[Name, int] = {}
        self._count = 0
        self._written: dict[int, Path] = {}  # nodes that may hold bytes that were not synced, and how to reach them
        self._announced: list[tuple[Name, Path]] = []
        self._databases: set[Path] = set()
        self._readers: dict[_Key, int] = {}
        self._known: dict[Content, Content] = {}  # equal contents are kept once
        self._turn = threading.RLock()
        self._own = threading.local()
        self._real_open, self._real_sync = os.open, os.fsync
        nodes = self._scanned()
        beginning = Operation("the beginning", databases=self._database_contents())
        self.journal = DiskJournal(dict(self._names), nodes, [beginning])

    def install(self) -> None:
        """Begin to record."""
        for name, wrap in {
            "open": self._opening,
            "fsync": self._syncing,
            "fdatasync": self._syncing,
            "sync": self._syncing_all,
            "write": self._writing,
            "pwrite": self._writing,
            "ftruncate": self._writing,
            "rename": self._renaming,
            "replace": self._renaming,
            "link": self._linking,
            "symlink": self._symlinking,
            "mkdir": self._making_directory,
            "unlink": self._removing,
            "remove": self._removing,
            "rmdir": self._removing,
        }.items():
            setattr(os, name, wrap(name, getattr(os, name)))
        self._trace_sqlite()
        sys.addaudithook(self._heard)

    def finish(self) -> DiskJournal:
        """End, and compare. Raises AssertionError if something was done to the tree that was not recorded."""
        with self._recording():
            self._settle()
            found = {name for name, _ in self._walk(self._root, 0)}
            missed = found ^ set(self._names)
            assert not missed, f"changed without being recorded: {sorted(name.name for name in missed)}"
        self._own.busy = True
        return self.journal

    # --- what is recorded -------------------------------------------------------------------------------------------

    def _opening(self, name: str, function: Callable[..., int]) -> Callable[..., int]:
        def opened(path: Any, flags: int, *arguments: Any, dir_fd: int | None = None, **options: Any) -> int:
            place = self._name(path, dir_fd) if flags & _WRITING and not self._is_busy else None
            if place is None or _is_database(place.name):
                return function(path, flags, *arguments, dir_fd=dir_fd, **options)
            with self._recording():
                is_new = not _exists(path, dir_fd)
                if is_new:
                    self._settle()
                descriptor = function(path, flags, *arguments, dir_fd=dir_fd, **options)
                if is_new:
                    number = self._new_node(os.fstat(descriptor))
                    self._note(f"{name} {self._shown(place)}", Change(new=place, node=number))
                elif _key(os.fstat(descriptor)) not in self._numbers:
                    self._new_node(os.fstat(descriptor))  # O_TMPFILE: a link may give it a name
                self._touch(descriptor)
                return descriptor

        return opened

    def _writing(self, _: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrote(descriptor: int, *arguments: Any) -> Any:
            if not self._is_busy:
                with self._recording():
                    self._touch(descriptor)
            return function(descriptor, *arguments)

        return wrote

    def _syncing(self, name: str, function: Callable[..., None]) -> Callable[..., None]:
        def synced(file: Any) -> None:
            descriptor = file if isinstance(file, int) else file.fileno()
            if self._is_busy:
                function(descriptor)
                return
            with self._recording():
                self._settle()  # the file may have been heard of only
                number = self._numbers.get(_key(os.fstat(descriptor)))
                if number in self._directories:
                    self._note_sync(name, descriptor).synced_directories = (number,)
                elif number is not None:
                    content = _content(self._real_open, f"/proc/self/fd/{descriptor}")
                    self._note_sync(name, descriptor).synced = {number: content}
                    self._written.pop(number, None)
                function(descriptor)

        return synced

    def _note_sync(self, name: str, descriptor: int) -> Operation:
        return self._note(f"{name} {Path(f'/proc/self/fd/{descriptor}').readlink()}")

    def _syncing_all(self, name: str, function: Callable[[], None]) -> Callable[[], None]:
        def synced() -> None:
            with self._recording():
                self._settle()
                operation = self._note(name)
                operation.synced_directories = tuple(self._directories)
                operation.synced = self._unsynced()
                self._written.clear()
                function()

        return synced

    def _renaming(self, name: str, function: Callable[..., None]) -> Callable[..., None]:
        def renamed(
            source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
        ) -> None:
            act = lambda: function(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)  # noqa: E731
            old, new = self._name(source, src_dir_fd), self._name(target, dst_dir_fd)
            if self._is_busy or (old is None and new is None):
                act()
                return
            assert old is not None, f"{source} came from outside of {self._root}: no model of that"
            assert new is not None, f"{target} left {self._root}: no model of that"
            with self._recording():
                self._settle()
                number = self._node_at(source, src_dir_fd)
                is_same = self._names.get(new) == number  # two names of one file: nothing happens, both stay
                act()
                if not is_same:
                    self._note(f"{name} {self._shown(old)} {self._shown(new)}", Change((old,), new, number))

        return renamed

    def _linking(self, name: str, function: Callable[..., None]) -> Callable[..., None]:
        def linked(source: Any, target: Any, *, dst_dir_fd: int | None = None, **options: Any) -> None:
            new = None if self._is_busy else self._name(target, dst_dir_fd)
            if new is None:
                function(source, target, dst_dir_fd=dst_dir_fd, **options)
                return
            with self._recording():
                self._settle()
                function(source, target, dst_dir_fd=dst_dir_fd, **options)
                number = self._node_at(target, dst_dir_fd)
                self._note(f"{name} {os.fspath(source)} {self._shown(new)}", Change(new=new, node=number))

        return linked

    def _symlinking(self, name: str, function: Callable[..., None]) -> Callable[..., None]:
        def linked(source: Any, target: Any, *arguments: Any, dir_fd: int | None = None, **options: Any) -> None:
            self._making(name, target, dir_fd, lambda: function(source, target, *arguments, dir_fd=dir_fd, **options))

        return linked

    def _making_directory(self, name: str, function: Callable[..., None]) -> Callable[..., None]:
        def made(path: Any, *arguments: Any, dir_fd: int | None = None, **options: Any) -> None:
            self._making(name, path, dir_fd, lambda: function(path, *arguments, dir_fd=dir_fd, **options))

        return made

    def _making(self, what: str, path: Any, dir_fd: int | None, act: Callable[[], None]) -> None:
        new = None if self._is_busy else self._name(path, dir_fd)
        if new is None:
            act()
            return
        with self._recording():
            self._settle()
            act()
            number = self._new_node(os.stat(path, dir_fd=dir_fd, follow_symlinks=False))
            if what == "symlink":
                self.journal.nodes[number] = Link(os.readlink(path, dir_fd=dir_fd))
            self._note(f"{what} {self._shown(new)}", Change(new=new, node=number))

    def _removing(self, name: str, function: Callable[..., None]) -> Callable[..., None]:
        def removed(path: Any, *, dir_fd: int | None = None) -> None:
            old = None if self._is_busy else self._name(path, dir_fd)
            if old is None:
                function(path, dir_fd=dir_fd)
                return
            with self._recording():
                self._settle()
                function(path, dir_fd=dir_fd)
                self._note(f"{name} {self._shown(old)}", Change((old,)))

        return removed

    def _trace_sqlite(self) -> None:
        connect = sqlite3.connect

        def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            place = Path(connection.execute("PRAGMA database_list").fetchone()[2])
            if place.is_relative_to(self._root):
                self._databases.add(place)
                connection.set_trace_callback(self._statement)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]

    def _statement(self, statement: str) -> None:
        with self._recording():
            self._settle()
            self._note(f"sql {' '.join(statement.split())}")

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear of files that C code opens: what `open` does is known only when it is done."""
        if event != "open" or self._is_busy or not isinstance(arguments[2], int) or not arguments[2] & _WRITING:
            return
        path = arguments[0]
        if isinstance(path, int) or path is None:
            return
        with self._recording():
            name = self._name(path, None)
            if name is not None and not _is_database(name.name):
                self._announced.append((name, Path(os.fsdecode(path)).absolute()))

    # --- how --------------------------------------------------------------------------------------------------------

    @property
    def _is_busy(self) -> bool:
        return getattr(self._own, "busy", False)

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """One operation at a time; what the recorder does itself is not recorded."""
        with self._turn:
            before, self._own.busy = self._is_busy, True
            try:
                yield
            finally:
                self._own.busy = before

    def _settle(self) -> None:
        """Write down what is there now, before the next operation begins."""
        still: list[tuple[Name, Path]] = []
        for name, path in self._announced:
            try:
                status = path.lstat()
            except FileNotFoundError:
                still.append((name, path))
                continue
            known = self._names.get(name)
            if known is None:
                known = self._new_node(status)
                self._note(f"open {path}", Change(new=name, node=known))
            self._written[known] = path
        self._announced = still
        last = self.journal.operations[-1]
        last.unsynced, last.databases = self._unsynced(), self._database_contents()

    def _note(self, what: str, change: Change | None = None) -> Operation:
        operation = Operation(what, change, databases=self._database_contents())
        self.journal.operations.append(operation)
        if change is not None:
            for name in change.gone:
                self._names.pop(name, None)
            if change.new is not None and not _is_database(change.new.name):
                self._names[change.new] = change.node
        return operation

    def _unsynced(self) -> dict[int, Content]:
        found: dict[int, Content] = {}
        for number, path in self._written.items():
            for place in (path, *self._paths(number)):
                try:
                    if self._numbers.get(_key(place.stat())) == number:
                        content = _content(self._real_open, place)
                        found[number] = self._known.setdefault(content, content)
                        break
                except OSError:
                    continue
        return found

    def _paths(self, number: int) -> Iterator[Path]:
        for name, node in self._names.items():
            if node == number:
                yield self._shown(name)

    def _shown(self, name: Name) -> Path:
        if name.directory == 0:
            return self._root / name.name
        parent = next((key for key, node in self._names.items() if node == name.directory), None)
        return (self._shown(parent) if parent else Path("?")) / name.name

    def _touch(self, descriptor: int) -> None:
        number = self._numbers.get(_key(os.fstat(descriptor)))
        if number is not None and number not in self._directories:
            self._written[number] = Path(f"/proc/self/fd/{descriptor}")

    def _name(self, path: Any, dir_fd: int | None) -> Name | None:
        """Return which name a path is; None if it lies outside of the tree."""
        parent, name = os.path.split(os.fsdecode(path).rstrip("/"))
        try:
            number = self._numbers.get(_key(os.stat(parent or ".", dir_fd=dir_fd)))
        except OSError:
            return None
        return Name(number, name) if number in self._directories and number is not None else None

    def _node_at(self, path: Any, dir_fd: int | None) -> int:
        status = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        known = self._numbers.get(_key(status))
        return self._new_node(status) if known is None else known

    def _new_node(self, status: os.stat_result) -> int:
        self._count += 1
        self._numbers[_key(status)] = self._count
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode):
            self._directories.add(self._count)
        if hasattr(self, "journal"):
            self.journal.nodes[self._count] = Directory(mode) if stat.S_ISDIR(status.st_mode) else Content(b"", mode)
        return self._count

    def _scanned(self) -> dict[int, Content | Directory | Link]:
        nodes: dict[int, Content | Directory | Link] = {0: Directory(0o755)}
        self._numbers[_key(self._root.stat())] = 0
        self._directories.add(0)
        for name, path in self._walk(self._root, 0):
            status = path.lstat()
            number = self._node_at(path, None)
            self._names[name] = number
            if stat.S_ISLNK(status.st_mode):
                nodes[number] = Link(str(path.readlink()))
            elif stat.S_ISDIR(status.st_mode):
                nodes[number] = Directory(stat.S_IMODE(status.st_mode))
            else:
                nodes[number] = _content(self._real_open, path)
        self._databases |= {path for path in self._root.rglob("*.db") if path.is_file()}
        return nodes

    def _walk(self, directory: Path, number: int) -> Iterator[tuple[Name, Path]]:
        for path in sorted(directory.iterdir()):
            status = path.lstat()
            is_kept = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode)
            if not is_kept or _is_database(path.name):
                continue
            yield Name(number, path.name), path
            if stat.S_ISDIR(status.st_mode):
                yield from self._walk(path, self._numbers.get(_key(status), -1))

    def _database_contents(self) -> dict[Name, Content]:
        found: dict[Name, Content] = {}
        for database in self._databases:
            for ending in _DATABASE_FILES:
                path = database.with_name(database.name + ending)
                name = self._name(path, None)
                if name is not None and path.is_file():
                    found[name] = self._database_content(path)
        return found

    def _database_content(self, path: Path) -> Content:
        # Closing any descriptor of a file lets go of all locks that the process has on it: these stay open.
        status = path.stat()
        reader = self._readers.get(_key(status))
        if reader is None:
            reader = self._readers[_key(status)] = self._real_open(path, os.O_RDONLY | os.O_CLOEXEC)
        content = Content(os.pread(reader, status.st_size, 0), stat.S_IMODE(status.st_mode))
        return self._known.setdefault(content, content)


def _is_database(name: str) -> bool:
    return name.endswith(_DATABASE_ENDINGS)


def _key(status: os.stat_result) -> _Key:
    return status.st_dev, status.st_ino


def _exists(path: Any, dir_fd: int | None) -> bool:
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True


def _content(real_open: Callable[[Any, int], int], path: Any) -> Content:
    descriptor = real_open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        return Content(os.pread(descriptor, status.st_size, 0), stat.S_IMODE(status.st_mode))
    finally:
        os.close(descriptor)
