"""A file in the place of another, on disks that have no room and on file systems that cannot do everything."""

import os
from pathlib import Path

import pytest

from appliance.durable import fsync_directory, write_file
from tests.support.small_disk import SMALL_DISK_BYTES


def test_names_on_a_file_system_that_cannot_sync_directories_are_no_error():
    unable = Path("/proc")  # says EINVAL, as the drivers of some sticks do
    descriptor = os.open(unable, os.O_RDONLY | os.O_DIRECTORY)
    with pytest.raises(OSError, match="Invalid argument"):
        os.fsync(descriptor)
    os.close(descriptor)

    fsync_directory(unable)


@pytest.mark.root
def test_a_write_that_finds_no_room_leaves_the_old_file_and_nothing_half_written(small_disk):
    write_file(small_disk / "record", b"old", mode=0o600)

    with pytest.raises(OSError, match="No space left"):
        write_file(small_disk / "record", bytes(SMALL_DISK_BYTES), mode=0o600)
    assert [path.name for path in small_disk.iterdir()] == ["record"]
    assert (small_disk / "record").read_bytes() == b"old"


def test_a_name_that_cannot_be_taken_leaves_nothing_half_written(tmp_path):
    (tmp_path / "taken").mkdir()

    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "taken", b"new", mode=0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_has_its_mode_whatever_the_umask_is(tmp_path, mode, umask):
    before = os.umask(umask)
    try:
        write_file(tmp_path / "file", b"new", mode)
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
