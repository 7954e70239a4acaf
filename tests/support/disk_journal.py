"""What was done to a directory tree, in order, and what a disk may hold of it when the power fails.

The model, stricter than the journalling file systems that the appliance asks for (ext4, xfs, btrfs):

* A file's bytes are sure as they were at its last fsync; one that was never synced may be empty. Of what was written
  since, nothing, all, or the first half of what differs may be there.
* A change of names (creation, link, rename, removal) is sure once its directory has been synced; that of a rename is
  the one it leads to. A rename is one change: never two names, never none. Unsure changes are lost or kept: all,
  none, any beginning of them in their order, those of one directory alone, those of all directories but one.
* A directory keeps its content only as long as it has a name itself.
* SQLite's files are taken as they are on the disk at that moment: it syncs them itself at COMMIT, and what is not
  committed does not count. The -shm file is gone.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes and permissions of a file."""

    data: bytes
    mode: int


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory's permissions; its names are kept elsewhere."""

    mode: int


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a directory. `directory`: the number of a node."""

    directory: int
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One change of names: `gone` go, then `new` (if any) names a node."""

    gone: tuple[Name, ...] = ()
    new: Name | None = None
    node: int = 0

    @property
    def names(self) -> frozenset[Name]:
        return frozenset((*self.gone, self.new) if self.new else self.gone)

    @property
    def directory(self) -> int:
        """Whose fsync makes it sure."""
        return self.new.directory if self.new else self.gone[0].directory


@dataclass(slots=True)
class Operation:
    """One file operation, and what lay on the disk unsynced before the next one began."""

    what: str
    change: Change | None = None
    synced: Mapping[int, Content] = field(default_factory=dict)  # files
    synced_directories: Collection[int] = ()
    unsynced: Mapping[int, Content] = field(default_factory=dict)
    databases: Mapping[Name, Content] = field(default_factory=dict)


class Unsynced(Enum):
    """What became of bytes that no fsync followed."""

    LOST = "unsynced data lost"
    TORN = "half of the unsynced data lost"
    KEPT = "unsynced data kept"


@dataclass(frozen=True, slots=True)
class DiskState:
    """What a disk holds. `files`: path, relative to the root -> content; equal `nodes` are one file."""

    place: str
    files: Mapping[Path, Content | Directory | Link]
    nodes: Mapping[Path, int]
    is_done: bool  # the power went when the operation had come to its end

    def write(self, target: Path) -> None:
        """Make this tree at `target`, which must not be there."""
        target.mkdir(parents=True)
        written: dict[int, Path] = {}
        for path, content in self.files.items():  # parents come before what is in them
            place, node = target / path, self.nodes[path]
            if isinstance(content, Directory):
                place.mkdir()
                place.chmod(content.mode)
            elif isinstance(content, Link):
                place.symlink_to(content.target)
            elif node in written:
                place.hardlink_to(written[node])
            else:
                place.write_bytes(content.data)
                place.chmod(content.mode)
                written[node] = place

    @property
    def fingerprint(self) -> int:
        return hash(tuple(self.files.items()))


@dataclass(slots=True)
class DiskJournal:
    """A tree as it was, all of it on the disk, and what was done then. Node 0 is its root."""

    names: dict[Name, int]
    nodes: dict[int, Content | Directory | Link]
    operations: list[Operation]  # the first is the beginning: nothing was done

    def states(self) -> Iterator[DiskState]:
        """Yield every state in which a power cut may leave the disk, each once, those of early cuts first.

        What may be left when all was done comes last, and once more even if an earlier cut could leave the same.
        """
        seen: set[tuple[int, bool]] = set()
        sure_after = _sure_after(self.operations)
        for cut in range(1, len(self.operations) + 1):
            for state in self._states_after(cut, sure_after):
                if (state.fingerprint, state.is_done) not in seen:
                    seen.add((state.fingerprint, state.is_done))
                    yield state

    def _states_after(self, cut: int, sure_after: Mapping[int, int]) -> Iterator[DiskState]:
        """Yield what may be left after the first `cut` operations."""
        done = self.operations[:cut]
        sure = _with_what_they_need(done, {index for index, after in sure_after.items() if after < cut})
        unsure = [index for index, operation in enumerate(done) if operation.change and index not in sure]
        place = f"power lost after operation {cut - 1}, {done[-1].what}"
        for kept, what in _choices(done, unsure):
            for unsynced in Unsynced if len(kept) in (0, len(unsure)) else (Unsynced.LOST,):
                names = self._names_after(done, _with_what_they_need(done, {*sure, *kept}))
                yield self._state(f"{place}: {what}, {unsynced.value}", names, done, unsynced)

    def _names_after(self, done: Sequence[Operation], kept: Collection[int]) -> dict[int, dict[str, int]]:
        directories: dict[int, dict[str, int]] = {}
        for name, node in self.names.items():
            directories.setdefault(name.directory, {})[name.name] = node
        for index, operation in enumerate(done):
            if index in kept and operation.change:
                for name in operation.change.gone:
                    directories.get(name.directory, {}).pop(name.name, None)
                if new := operation.change.new:
                    directories.setdefault(new.directory, {})[new.name] = operation.change.node
        return directories

    def _state(
        self,
        place: str,
        names: Mapping[int, Mapping[str, int]],
        done: Sequence[Operation],
        unsynced: Unsynced,
    ) -> DiskState:
        last = done[-1]
        nodes = dict(self.nodes)
        for operation in done:
            nodes.update(operation.synced)
        for node, content in last.unsynced.items():
            nodes[node] = _written(nodes.get(node), content, unsynced)
        databases: dict[int, dict[str, Content]] = {}
        for name, content in last.databases.items():
            databases.setdefault(name.directory, {})[name.name] = content
        files: dict[Path, Content | Directory | Link] = {}
        numbers: dict[Path, int] = {}

        def walk(directory: int, path: Path) -> None:
            for name, node in sorted(names.get(directory, {}).items()):
                files[path / name], numbers[path / name] = nodes[node], node
                if isinstance(nodes[node], Directory):
                    walk(node, path / name)
            for name, content in sorted(databases.get(directory, {}).items()):
                files[path / name], numbers[path / name] = content, -len(files) - 1

        walk(0, Path())
        return DiskState(place, files, numbers, is_done=len(done) == len(self.operations))


def _sure_after(operations: Sequence[Operation]) -> dict[int, int]:
    """Return which changes reach the disk for good, and with which operation."""
    sure: dict[int, int] = {}
    open_changes: dict[int, list[int]] = {}
    for index, operation in enumerate(operations):
        for directory in operation.synced_directories:
            for change in open_changes.pop(directory, ()):
                sure[change] = index
        if operation.change:
            open_changes.setdefault(operation.change.directory, []).append(index)
    return sure


def _with_what_they_need(done: Sequence[Operation], kept: Collection[int]) -> set[int]:
    """Add earlier changes of the same names: a name's history has no holes."""
    needed: set[Name] = set()
    closed: set[int] = set()
    for index in range(len(done) - 1, -1, -1):
        change = done[index].change
        if change and (index in kept or change.names & needed):
            closed.add(index)
            needed |= change.names
    return closed


def _choices(done: Sequence[Operation], unsure: Sequence[int]) -> Iterator[tuple[Sequence[int], str]]:
    """Yield which of the unsure changes are kept, in words too."""
    yield unsure, "all names kept" if unsure else "all names sure"
    if not unsure:
        return
    yield (), f"{len(unsure)} names lost"
    for count in range(1, len(unsure)):
        yield unsure[:count], f"names kept as far as: {done[unsure[count - 1]].what}"
    of_directory: dict[int, list[int]] = {}
    for index in unsure:
        change = done[index].change
        assert change is not None
        of_directory.setdefault(change.directory, []).append(index)
    if len(of_directory) > 1:
        for indexes in of_directory.values():
            where = os.path.dirname(done[indexes[0]].what.split()[-1])  # noqa: PTH120  (a text, no path of ours)
            yield indexes, f"names kept in {where} only"
            yield [index for index in unsure if index not in indexes], f"names lost in {where} only"


def _written(sure: Content | Directory | Link | None, found: Content, unsynced: Unsynced) -> Content:
    """Return what is left of a file. `sure`: as of its last fsync, None if it never had one."""
    before = sure.data if isinstance(sure, Content) else b""
    match unsynced:
        case Unsynced.LOST:
            return sure if isinstance(sure, Content) else Content(b"", found.mode)
        case Unsynced.KEPT:
            return found
        case Unsynced.TORN:
            kept = len(os.path.commonprefix([before, found.data]))  # noqa: RUF071  (bytes, no paths)
            return Content(found.data[: kept + (len(found.data) - kept) // 2], found.mode)
