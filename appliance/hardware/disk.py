"""The disk below a directory: room, whether it can be written, and how much of its life is used up.

Only eMMC tells its wear to everybody; NVMe and SATA tell it to root alone, so there it is absent.
"""

import os
from pathlib import Path

from appliance.hardware.hardware import Disk
from appliance.hardware.kernel_files import KernelFiles

_LIFE_STEP = 0.1  # JEDEC 84-B50, DEVICE_LIFE_TIME_EST: 1 is up to 10 % used, 11 is over its life
_LIFE_STEPS = range(1, 12)
_END_OF_LIFE = {1: "NORMAL", 2: "WARNING", 3: "URGENT"}
_MOST_LAYERS = 8  # of mapped devices


def read_disk(files: KernelFiles, directory: Path) -> Disk | None:
    """Read the facts of the disk that holds a directory, or would hold it. None if nothing can be found out."""
    existing = next((path for path in (directory, *directory.parents) if path.exists()), None)
    if existing is None:
        return None
    try:
        room, number = os.statvfs(existing), existing.stat().st_dev
    except OSError:
        return None
    return disk_of(files, room, f"{os.major(number)}:{os.minor(number)}")


def disk_of(files: KernelFiles, room: os.statvfs_result, number: str) -> Disk:
    """Put together what the file system says and what the device `number` ('179:1') says."""
    devices = _devices(files, files.root / "sys/dev/block" / number)
    wear = [value for device in devices if (value := _wear(files, device)) is not None]
    ends = [end for device in devices if (end := _end_of_life(files, device)) is not None]
    return Disk(
        total_bytes=room.f_blocks * room.f_frsize,
        free_bytes=room.f_bavail * room.f_frsize,
        read_only=bool(room.f_flag & os.ST_RDONLY),
        devices=tuple(device.name for device in devices),
        wear=max(wear, default=None),
        end_of_life=max(ends, key=list(_END_OF_LIFE.values()).index, default=None),
    )


def _devices(files: KernelFiles, link: Path, layers: int = _MOST_LAYERS) -> list[Path]:
    """Follow a partition to its disk, and a mapped device to the disks below it."""
    if not link.exists() or layers == 0:
        return []
    device = link.resolve()
    if (device / "partition").exists():
        device = device.parent
    below = files.glob(f"{device.relative_to(files.root.resolve())}/slaves/*")
    if not below:
        return [device]
    found = [disk for each in below for disk in _devices(files, each, layers - 1)]
    return list(dict.fromkeys(found))


def _wear(files: KernelFiles, device: Path) -> float | None:
    # Two numbers, for the two kinds of its cells; the worse one counts.
    words = (files.text(device / "device/life_time") or "").split()
    try:
        steps = [step for word in words if (step := int(word, 16)) in _LIFE_STEPS]
    except ValueError:
        return None
    return round(max(steps) * _LIFE_STEP, 1) if steps else None


def _end_of_life(files: KernelFiles, device: Path) -> str | None:
    try:
        return _END_OF_LIFE.get(int(files.text(device / "device/pre_eol_info") or "", 16))
    except ValueError:
        return None
