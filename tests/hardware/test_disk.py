"""The disk below a directory."""

import os
from pathlib import Path

import pytest

from appliance.hardware.disk import disk_of, read_disk
from appliance.hardware.kernel_files import KernelFiles
from tests.hardware.machines import EMMC, ORIN, ORIN_LINKS, SERVER, SERVER_LINKS, make_machine

LIFE_TIME = f"{EMMC}/device/life_time"


def room(flags: int = 0) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, 1000, 500, 400, 10, 10, 10, flags, 255))


def test_an_emmc_tells_its_wear_by_the_worse_of_its_two_numbers(tmp_path) -> None:
    disk = disk_of(KernelFiles(make_machine(tmp_path, ORIN, ORIN_LINKS)), room(), "179:1")

    assert disk.devices == ("mmcblk0",)
    assert disk.wear == 0.3
    assert disk.end_of_life == "NORMAL"
    assert disk.free_bytes == 400 * 4096


@pytest.mark.parametrize("text", ["0x00 0x00", "0x0c 0x0c", "none", ""])
def test_wear_that_is_not_defined_is_absent(tmp_path, text: str) -> None:
    disk = disk_of(KernelFiles(make_machine(tmp_path, ORIN | {LIFE_TIME: text}, ORIN_LINKS)), room(), "179:1")

    assert disk.wear is None


def test_below_a_mapped_device_every_disk_is_named(tmp_path) -> None:
    disk = disk_of(KernelFiles(make_machine(tmp_path, SERVER, SERVER_LINKS)), room(), "253:0")

    assert disk.devices == ("nvme0n1", "nvme1n1")
    assert disk.wear is None


def test_a_file_system_without_a_device_has_room_and_no_wear(tmp_path) -> None:
    disk = disk_of(KernelFiles(make_machine(tmp_path, SERVER, SERVER_LINKS)), room(os.ST_RDONLY), "0:25")

    assert disk.devices == ()
    assert disk.read_only


def test_a_directory_that_is_not_made_yet_is_on_the_disk_above_it(tmp_path) -> None:
    files = KernelFiles(Path("/"))

    missing, existing = read_disk(files, tmp_path / "a" / "b"), read_disk(files, tmp_path)

    assert missing is not None
    assert existing is not None
    assert missing.total_bytes == existing.total_bytes
