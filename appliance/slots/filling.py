"""A software tree comes into a slot: from a directory at installation, or from the archive that an update brought.

Invariant: a slot's record names a tree only when all of it is on the disk. Half-filled slots are directories that no
record names; the next filling removes them. Record and trees may have different owners: `forget` and `note` change
the one, `lay_directory` and `lay_archive` the others.
"""

import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from appliance.durable import disk_errors, fsync_directory, make_directory
from appliance.errors import InvalidInput
from appliance.slots.record import Slot, SlotName
from appliance.slots.store import SlotStore
from appliance.slots.tree import CountFile, Software, check_tree, ignore_file, read_software, tree_digest

_FILE_MODE = 0o644
_PIECE_BYTES = 1024 * 1024
_DIRECTORY_MODE = 0o755
_SIGNED = "that were signed"

Bring = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an archive has to be. tree: its name; the rest is the most that it may hold, and the most that is read."""

    tree: str
    archive_bytes: int
    unpacked_bytes: int
    file_count: int


def fill_from_directory(store: SlotStore, name: SlotName, source: Path, count: CountFile = ignore_file) -> Slot:
    """Copy a tree into a slot that does not run. Raises InvalidInput if it is not whole, Failed, Busy."""
    forget(store, name)
    return note(store, name, lay_directory(store, name, source, count))


def fill_from_archive(
    store: SlotStore, name: SlotName, archive: BinaryIO, expected: Expected, count: CountFile = ignore_file
) -> Slot:
    """Unpack an archive into a slot that does not run. Raises InvalidInput, Failed, Busy."""
    forget(store, name)
    return note(store, name, lay_archive(store, name, archive, expected, count))


def lay_directory(store: SlotStore, name: SlotName, source: Path, count: CountFile = ignore_file) -> Slot:
    """Copy a tree to a slot's place, and leave the record to others. Raises InvalidInput, Failed, Busy."""

    def bring(target: Path) -> None:
        shutil.copytree(source, target, copy_function=_copy_file)

    return _lay(store, name, tree_digest(source), bring, count)


def lay_archive(
    store: SlotStore, name: SlotName, archive: BinaryIO, expected: Expected, count: CountFile = ignore_file
) -> Slot:
    """Unpack an archive in a slot's place, and leave the record to others. Raises InvalidInput, Failed, Busy."""

    def bring(target: Path) -> None:
        unpack(archive, target, expected)

    return _lay(store, name, expected.tree, bring, count)


def forget(store: SlotStore, name: SlotName) -> None:
    """Take what lies in a slot out of the record, before it is touched."""
    undo = store.read().undo
    store.change(lambda record: record.with_slot(name, Slot(), undo=""))
    if undo:
        with disk_errors(f"emptying software slot {name}"):
            store.snapshot_path(undo).unlink(missing_ok=True)


def note(store: SlotStore, name: SlotName, slot: Slot) -> Slot:
    """Write down what lies in a slot now; what failed there before is history."""
    store.change(lambda record: record.with_slot(name, slot, fallback=None))
    return slot


def unpack(archive: BinaryIO, target: Path, most: Expected) -> None:
    """Unpack an archive into a new directory. Raises InvalidInput for what is not an archive of plain files, or more
    than was expected: whoever wrote it may want to fill the disk, or the memory.
    """
    _make_directory(target)
    try:
        _unpack_members(archive, target, most)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InvalidInput(f"the software's archive cannot be unpacked: {error}") from error


def _lay(store: SlotStore, name: SlotName, expected: str, bring: Bring, count: CountFile) -> Slot:
    """Bring a tree beside what lies there, which goes when the new one proves to be whole. One at a time."""
    target = store.path(name)
    partial = target.with_suffix(".tmp")
    with disk_errors(f"filling software slot {name}"), _turn(store):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            bring(partial)
            software = _whole(partial, expected, count)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _open_to_all(partial)
        _sync_tree(partial)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(partial, target)  # noqa: PTH104  (counted by tests of crashes)
        fsync_directory(store.trees)
    return Slot(expected, software.version, software.data_epoch)


@contextmanager
def _turn(store: SlotStore) -> Iterator[None]:
    """Keep an installation and an update out of each other's way. A file that nobody else can open, and so hold."""
    make_directory(store.trees)
    path = store.trees / ".lock"
    with store.turn(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), path):
        yield


def _whole(tree: Path, expected: str, count: CountFile) -> Software:
    problem = check_tree(tree, expected, count)
    if problem:
        raise InvalidInput(problem, hint="copy it again, or ask the signing station for a new bundle")
    return read_software(tree)


def _unpack_members(archive: BinaryIO, target: Path, most: Expected) -> None:
    """Unpack files and nothing else; where they may lie is the list's to say, which is checked after."""
    done_bytes = 0
    limited = _Limited(archive, most.archive_bytes)
    with tarfile.open(fileobj=limited, mode="r|", bufsize=_PIECE_BYTES) as members:
        for number, member in enumerate(members, start=1):
            if not member.isreg() or member.issparse():  # a hole has any size, a negative one too
                raise InvalidInput(f"the software's archive holds {member.name[:120]!r}, which is no file")
            done_bytes += member.size
            if done_bytes > most.unpacked_bytes:
                raise InvalidInput(
                    f"the software's archive holds more than the {most.unpacked_bytes} bytes {_SIGNED}"
                )
            if number > most.file_count:
                raise InvalidInput(f"the software's archive holds more than the {most.file_count} files {_SIGNED}")
            parts = member.name.split("/")
            if any(part in ("", ".", "..") for part in parts):
                raise InvalidInput(f"the software's archive holds {member.name[:120]!r}, outside of the tree")
            content = members.extractfile(member)
            assert content is not None, "it is a file"
            path = target.joinpath(*parts)
            _make_directory(path.parent)
            with content, path.open("xb") as stream:
                shutil.copyfileobj(content, stream, _PIECE_BYTES)
            path.chmod(_FILE_MODE)


class _Limited(io.RawIOBase):
    """The first bytes of a stream: a header in it may claim any length, and is read whole."""

    def __init__(self, stream: BinaryIO, size_bytes: int) -> None:
        self._stream = stream
        self._left_bytes = size_bytes

    def read(self, size_bytes: int = -1) -> bytes:
        """Read on, up to the limit."""
        data = self._stream.read(min(size_bytes, self._left_bytes) if size_bytes >= 0 else self._left_bytes)
        self._left_bytes -= len(data)
        return data


def _copy_file(source: str, target: str) -> str:
    shutil.copyfile(source, target, follow_symlinks=False)
    Path(target).chmod(_FILE_MODE)
    return target


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)


def _open_to_all(tree: Path) -> None:
    """Let the service read what root laid, whatever the umask was."""
    for directory, _, _ in os.walk(tree):
        Path(directory).chmod(_DIRECTORY_MODE)


def _sync_tree(tree: Path) -> None:
    """Make thousands of small files durable. One sync of the whole system is quicker than one for each of them."""
    os.sync()
    fsync_directory(tree)
