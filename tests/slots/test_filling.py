import errno
import fcntl
import io
import os
import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from appliance.errors import Busy, Failed, InvalidInput
from appliance.slots.filling import Expected, fill_from_archive, fill_from_directory
from appliance.slots.record import Slot, SlotName
from appliance.slots.snapshot import restore_snapshot, take_snapshot
from appliance.slots.store import SlotStore
from appliance.slots.tree import check_tree
from tests.slots.trees import make_tree

A, B = SlotName.A, SlotName.B


def archive_of(tree: Path) -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                archive.add(path, str(path.relative_to(tree)))
    content.seek(0)
    return content


def hostile(*members: tarfile.TarInfo) -> io.BytesIO:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    content.seek(0)
    return content


def of(tree: str) -> Expected:
    return Expected(tree, archive_bytes=1 << 30, unpacked_bytes=1 << 30, file_count=99)


def test_an_archive_becomes_a_whole_slot(tmp_path):
    store, digest = SlotStore(tmp_path / "slots"), make_tree(tmp_path / "tree", "0.2.0", data_epoch=3)

    assert fill_from_archive(store, B, archive_of(tmp_path / "tree"), of(digest)) == Slot(digest, "0.2.0", 3)
    assert check_tree(store.path(B), digest) == ""
    assert store.read().slots[B].tree == digest
    assert {oct(path.stat().st_mode & 0o777) for path in store.path(B).rglob("*") if path.is_file()} == {"0o644"}


@pytest.mark.parametrize("held", ["slots", "slots/.lock"])
def test_a_filling_does_not_wait_for_ever_for_who_holds_the_slots(tmp_path, held):
    store, digest = SlotStore(tmp_path / "slots", patience_s=0.1), make_tree(tmp_path / "tree")
    fill_from_directory(store, A, tmp_path / "tree")
    descriptor = os.open(tmp_path / held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)

    with pytest.raises(Busy, match=f"another process has held {tmp_path / held} for") as refused:
        fill_from_directory(store, B, tmp_path / "tree")
    assert "lslocks" in refused.value.hint
    assert "dpkg --configure -a" in refused.value.hint
    assert (store.read().slots[A].tree, store.read().slots[B].tree) == (digest, "")
    os.close(descriptor)
    assert fill_from_directory(store, B, tmp_path / "tree").tree == digest


def test_a_filling_takes_its_turn_when_who_held_the_slots_lets_go(tmp_path):
    store, digest = SlotStore(tmp_path / "slots"), make_tree(tmp_path / "tree")
    fill_from_directory(store, A, tmp_path / "tree")
    descriptor = os.open(tmp_path / "slots", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    soon = threading.Timer(0.1, os.close, [descriptor])
    soon.start()

    assert fill_from_directory(store, B, tmp_path / "tree").tree == digest
    soon.join()


def test_a_directory_becomes_a_whole_slot_in_place_of_what_lay_there(tmp_path):
    store = SlotStore(tmp_path / "slots")
    fill_from_directory(store, A, tmp_path / "one", lambda _: None) if make_tree(tmp_path / "one") else None
    digest = make_tree(tmp_path / "two", "0.2.0")
    fill_from_directory(store, A, tmp_path / "two")

    assert check_tree(store.path(A), digest) == ""
    assert sorted(path.name for path in store.directory.iterdir()) == [".lock", "A", "record.a", "record.b"]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "site/../../x", "site//x"])
def test_an_archive_that_leaves_the_slot_is_refused_and_nothing_stays(tmp_path, name):
    member = tarfile.TarInfo(name)
    member.size = 1
    store = SlotStore(tmp_path / "slots")

    with pytest.raises(InvalidInput, match="outside of the tree"):
        fill_from_archive(store, B, hostile(member), of("0" * 64))
    assert [path.name for path in store.directory.iterdir()] == [".lock"]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_an_archive_holds_files_and_nothing_else(tmp_path, kind):
    member = tarfile.TarInfo("site/x")
    member.type, member.linkname = kind, "/etc/passwd"

    with pytest.raises(InvalidInput, match="no file"):
        fill_from_archive(SlotStore(tmp_path / "slots"), B, hostile(member), of("0" * 64))


def test_an_archive_cannot_fill_the_disk_with_holes(tmp_path):
    def sparse(name: str, size_bytes: int) -> bytes:
        member = tarfile.TarInfo(name)
        member.type = tarfile.GNUTYPE_SPARSE
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        header[483:495] = tarfile.itn(size_bytes, 12, tarfile.GNU_FORMAT)
        header[148:156] = b" " * 8
        header[148:156] = f"{tarfile.calc_chksums(bytes(header))[0]:06o}\0 ".encode()
        return bytes(header)

    store = SlotStore(tmp_path / "slots")
    content = io.BytesIO(sparse("site/a", -(10**12)) + sparse("site/b", 1 << 20) + bytes(1024))
    with pytest.raises(InvalidInput, match="which is no file"):
        fill_from_archive(store, B, content, of("0" * 64))
    assert not list(store.trees.rglob("site"))


@pytest.mark.parametrize("bring", ["archive", "directory"])
def test_everybody_may_read_a_slot_whatever_the_umask_of_the_one_who_fills_it(tmp_path, bring):
    store, digest = SlotStore(tmp_path / "slots"), make_tree(tmp_path / "tree")
    archive, before = archive_of(tmp_path / "tree"), os.umask(0o077)
    try:
        if bring == "archive":
            fill_from_archive(store, B, archive, of(digest))
        else:
            for path in (tmp_path / "tree").rglob("*"):
                path.chmod(0o700)
            fill_from_directory(store, B, tmp_path / "tree")
    finally:
        os.umask(before)

    modes = {path.stat().st_mode & 0o777 for path in [store.path(B), *store.path(B).rglob("*")] if path.is_dir()}
    assert modes == {0o755}


def test_a_cut_archive_and_one_of_another_tree_are_refused_and_leave_the_slot_empty(tmp_path):
    store, digest = SlotStore(tmp_path / "slots"), make_tree(tmp_path / "tree")
    whole = archive_of(tmp_path / "tree").getvalue()
    fill_from_archive(store, B, io.BytesIO(whole), of(digest))

    for data, expected in (
        (whole[: len(whole) // 2], digest),
        (whole, "0" * 64),
        (b"", digest),
        (b"\1" * 9999, digest),
    ):
        with pytest.raises(InvalidInput):
            fill_from_archive(store, B, io.BytesIO(data), of(expected))
        assert store.read().slots[B] == Slot()
        assert not store.path(B).with_suffix(".tmp").exists()


def test_a_file_that_the_list_does_not_name_is_refused(tmp_path):
    digest = make_tree(tmp_path / "tree")
    (tmp_path / "tree/site/more.py").write_text("")

    with pytest.raises(InvalidInput, match="does not belong there"):
        fill_from_directory(SlotStore(tmp_path / "slots"), A, tmp_path / "tree")
    assert digest


def database(path: Path, *rows: int) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
    connection.executemany("INSERT INTO t VALUES (?)", [(row,) for row in rows])
    connection.commit()
    return connection


def rows(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM t")]


def test_a_snapshot_holds_what_the_log_beside_the_registry_says_and_brings_exactly_that_back(tmp_path):
    path, snapshot = tmp_path / "registry.db", tmp_path / "slots" / "before.db"
    snapshot.parent.mkdir()
    open_one = database(path, 1, 2)  # stays open: its rows stand in the log
    assert (tmp_path / "registry.db-wal").stat().st_size > 0
    take_snapshot(path, snapshot)
    open_one.close()
    newer = database(path, 3)
    left = (tmp_path / "registry.db-wal").read_bytes()
    newer.close()
    (tmp_path / "registry.db-wal").write_bytes(left)  # as a killed process leaves it
    restore_snapshot(snapshot, path)

    assert rows(path) == [1, 2]
    restore_snapshot(snapshot, path)
    assert rows(path) == [1, 2]


def test_a_registry_that_cannot_be_copied_is_said_and_leaves_no_copy(tmp_path):
    (tmp_path / "registry.db").write_bytes(b"not a database" * 999)

    with pytest.raises(Failed, match="cannot be copied"):
        take_snapshot(tmp_path / "registry.db", tmp_path / "before.db")
    assert [path.name for path in tmp_path.iterdir()] == ["registry.db"]


def test_a_full_disk_leaves_the_slot_empty(tmp_path, small_disk):
    digest = make_tree(tmp_path / "tree", main="#" * 4_000_000)
    store = SlotStore(small_disk / "slots")

    with pytest.raises(Failed) as raised:
        fill_from_archive(store, B, archive_of(tmp_path / "tree"), of(digest))
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOSPC
    assert not store.path(B).exists()
