"""Writes down what this process does to a directory tree: changes of names, and which bytes were synced when.

Functions of `os` are replaced; files opened by `open`, `pathlib` or `io` are heard of through the interpreter's audit
events; SQLite reports each statement before it runs. Directories are known by their inode, so that relative paths,
`dir_fd` and links need no care. What still goes past it (other processes, C code) is found at the end, as the tree is
compared with what was written down. Only for a child of fork: an audit hook stays for ever.
"""

import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.database_files import DatabaseFiles, is_database
from tests.support.disk_journal import Change, Content, DiskJournal, Name, Operation
from tests.support.observed_tree import ObservedTree, read_content

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_Function = Callable[..., Any]


class DiskRecorder:
    """Records one tree. `root` must be there, and counts as lying on the disk with all that is in it."""

    def __init__(self, root: Path) -> None:
        self._tree = ObservedTree(root)
        self._databases = DatabaseFiles(root)
        self._written: dict[int, Path] = {}  # nodes that may hold bytes that were not synced, and how to reach them
        self._announced: list[tuple[Name, Path]] = []
        self._turn = threading.RLock()
        self._own = threading.local()
        beginning = Operation("the beginning", databases=self._database_contents())
        self.journal = DiskJournal(dict(self._tree.names), self._tree.nodes, [beginning])

    def install(self) -> None:
        """Begin to record."""
        for name, recording in {
            "open": self._opening,
            "fsync": self._syncing,
            "fdatasync": self._syncing,
            "rename": self._renaming,
            "replace": self._renaming,
            "link": self._linking,
            "symlink": self._symlinking,
            "mkdir": self._making_directory,
            "unlink": self._removing,
            "remove": self._removing,
            "rmdir": self._removing,
        }.items():
            setattr(os, name, self._unless_own(getattr(os, name), recording(name, getattr(os, name))))
        for name in ("write", "pwrite", "ftruncate"):
            setattr(os, name, self._writing(getattr(os, name)))
        self._trace_sqlite()
        sys.addaudithook(self._heard)

    def finish(self) -> DiskJournal:
        """End, and compare. Raises AssertionError if something was done to the tree that was not recorded."""
        self._own.busy = True
        self._settle()
        missed = sorted(self._tree.difference())
        assert not missed, f"changed without being recorded: {missed}"
        return self.journal

    def _opening(self, name: str, function: _Function) -> _Function:
        def opened(path: Any, flags: int, *arguments: Any, dir_fd: int | None = None, **options: Any) -> int:
            place = self._tree.name(path, dir_fd) if flags & _WRITING else None
            if place is None or is_database(place.name):
                return int(function(path, flags, *arguments, dir_fd=dir_fd, **options))
            is_new = not _exists(path, dir_fd)
            if is_new:
                self._settle()
            descriptor = int(function(path, flags, *arguments, dir_fd=dir_fd, **options))
            status = os.fstat(descriptor)
            if is_new:
                self._note(f"{name} {self._tree.path(place)}", Change(new=place, node=self._tree.made(status)))
            elif self._tree.number(status) is None:
                self._tree.made(status)  # O_TMPFILE: a link may give it a name
            self._touch(descriptor)
            return descriptor

        return opened

    def _writing(self, function: _Function) -> _Function:
        def wrote(descriptor: int, *arguments: Any) -> Any:
            if not self._is_own:
                with self._alone():
                    self._touch(descriptor)
            return function(descriptor, *arguments)  # may wait for whoever reads a pipe

        return wrote

    def _syncing(self, name: str, function: _Function) -> _Function:
        def synced(file: Any) -> None:
            descriptor = file if isinstance(file, int) else file.fileno()
            self._settle()  # the file may have been heard of only
            place = Path(f"/proc/self/fd/{descriptor}")
            number = self._tree.number(os.fstat(descriptor))
            if number is not None:
                operation = self._note(f"{name} {place.readlink()}")
                if self._tree.is_directory(number):
                    operation.synced_directories = (number,)
                else:
                    operation.synced = {number: read_content(place)}
                    self._written.pop(number, None)
            function(descriptor)

        return synced

    def _renaming(self, name: str, function: _Function) -> _Function:
        def renamed(
            source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
        ) -> None:
            old, new = self._tree.name(source, src_dir_fd), self._tree.name(target, dst_dir_fd)
            if old is None and new is None:
                function(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
                return
            assert old is not None, f"{source} came from outside of {self._tree.root}: no model of that"
            assert new is not None, f"{target} left {self._tree.root}: no model of that"
            self._settle()
            number = self._tree.moved_in(source, src_dir_fd)
            replaced = os.stat(target, dir_fd=dst_dir_fd, follow_symlinks=False) if new in self._tree.names else None
            function(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            if self._tree.names.get(new) == number:
                return  # two names of one file: nothing happens, both stay
            if replaced is not None:
                self._tree.removed(replaced)
            self._note(f"{name} {self._tree.path(old)} {self._tree.path(new)}", Change((old,), new, number))

        return renamed

    def _linking(self, name: str, function: _Function) -> _Function:
        def linked(source: Any, target: Any, *, dst_dir_fd: int | None = None, **options: Any) -> None:
            new = self._tree.name(target, dst_dir_fd)
            if new is None:
                function(source, target, dst_dir_fd=dst_dir_fd, **options)
                return
            self._settle()
            function(source, target, dst_dir_fd=dst_dir_fd, **options)
            number = self._tree.moved_in(target, dst_dir_fd)
            self._note(f"{name} {os.fspath(source)} {self._tree.path(new)}", Change(new=new, node=number))

        return linked

    def _symlinking(self, name: str, function: _Function) -> _Function:
        def linked(source: Any, target: Any, *arguments: Any, dir_fd: int | None = None, **options: Any) -> None:
            self._making(name, target, dir_fd, lambda: function(source, target, *arguments, dir_fd=dir_fd, **options))

        return linked

    def _making_directory(self, name: str, function: _Function) -> _Function:
        def made(path: Any, *arguments: Any, dir_fd: int | None = None, **options: Any) -> None:
            self._making(name, path, dir_fd, lambda: function(path, *arguments, dir_fd=dir_fd, **options))

        return made

    def _making(self, what: str, path: Any, dir_fd: int | None, act: Callable[[], None]) -> None:
        new = self._tree.name(path, dir_fd)
        if new is None:
            act()
            return
        self._settle()
        act()
        link = os.readlink(path, dir_fd=dir_fd) if what == "symlink" else ""
        number = self._tree.made(os.stat(path, dir_fd=dir_fd, follow_symlinks=False), link)
        self._note(f"{what} {self._tree.path(new)}", Change(new=new, node=number))

    def _removing(self, name: str, function: _Function) -> _Function:
        def removed(path: Any, *, dir_fd: int | None = None) -> None:
            old = self._tree.name(path, dir_fd)
            if old is None or old not in self._tree.names:
                function(path, dir_fd=dir_fd)
                return
            self._settle()
            status = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
            function(path, dir_fd=dir_fd)
            self._tree.removed(status)
            self._note(f"{name} {self._tree.path(old)}", Change((old,)))

        return removed

    def _trace_sqlite(self) -> None:
        connect = sqlite3.connect

        def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **options)
            place = Path(connection.execute("PRAGMA database_list").fetchone()[2])
            if place.is_relative_to(self._tree.root):
                self._databases.add(place)
                connection.set_trace_callback(self._statement)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]

    def _statement(self, statement: str) -> None:
        with self._alone():
            self._settle()
            self._note(f"sql {' '.join(statement.split())}")

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear of files that C code opens. What has become of them is known only when the next thing happens."""
        if event != "open" or self._is_own or not isinstance(arguments[2], int) or not arguments[2] & _WRITING:
            return
        if arguments[0] is None or isinstance(arguments[0], int):
            return
        with self._alone():
            name = self._tree.name(arguments[0])
            if name is not None and not is_database(name.name):
                self._announced.append((name, Path(os.fsdecode(arguments[0])).absolute()))

    @property
    def _is_own(self) -> bool:
        return getattr(self._own, "busy", False)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One operation at a time; what the recorder does itself is not recorded."""
        with self._turn:
            before, self._own.busy = self._is_own, True
            try:
                yield
            finally:
                self._own.busy = before

    def _unless_own(self, function: _Function, recording: _Function) -> _Function:
        def chosen(*arguments: Any, **options: Any) -> Any:
            if self._is_own:
                return function(*arguments, **options)
            with self._alone():
                return recording(*arguments, **options)

        return chosen

    def _settle(self) -> None:
        """Write down what is there now, before the next operation begins."""
        self._announced = [(name, path) for name, path in self._announced if not self._has_come(name, path)]
        last = self.journal.operations[-1]
        last.unsynced, last.databases = self._unsynced(), self._database_contents()

    def _has_come(self, name: Name, path: Path) -> bool:
        if not path.is_file():
            return path.exists()  # a directory: `tempfile` names it and opens another name itself
        if name not in self._tree.names:
            self._note(f"open {path}", Change(new=name, node=self._tree.made(path.stat())))
        self._written[self._tree.names[name]] = path
        return True

    def _note(self, what: str, change: Change | None = None) -> Operation:
        operation = Operation(what, change, databases=self._database_contents())
        self.journal.operations.append(operation)
        if change is not None:
            for name in change.gone:
                self._tree.names.pop(name, None)
            if change.new is not None and not is_database(change.new.name):
                self._tree.names[change.new] = change.node
        return operation

    def _touch(self, descriptor: int) -> None:
        number = self._tree.number(os.fstat(descriptor))
        if number is not None and not self._tree.is_directory(number):
            self._written[number] = Path(f"/proc/self/fd/{descriptor}")

    def _unsynced(self) -> dict[int, Content]:
        found: dict[int, Content] = {}
        for number, path in self._written.items():
            for place in (path, *self._tree.paths(number)):
                if place.exists() and self._tree.number(place.stat()) == number:
                    found[number] = read_content(place)
                    break
        return found

    def _database_contents(self) -> dict[Name, Content]:
        contents = self._databases.contents()
        return {name: content for path, content in contents.items() if (name := self._tree.name(path))}


def _exists(path: Any, dir_fd: int | None) -> bool:
    try:
        os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return False
    return True
