"""Temperatures as the kernel knows them: thermal zones, and the sensors of chips and disks (hwmon)."""

import re
from pathlib import Path

from appliance.hardware.hardware import Part, Temperature
from appliance.hardware.kernel_files import KernelFiles

# A sensor without power reads as -256, one without a chip as 0 kelvin, a broken one as anything.
_POSSIBLE_CELSIUS = (-55.0, 200.0)
_PARTS = (
    (Part.GPU, re.compile(r"gpu|nouveau", re.IGNORECASE)),
    (Part.DISK, re.compile(r"nvme|drivetemp", re.IGNORECASE)),
    (Part.CPU, re.compile(r"cpu|x86_pkg|coretemp|k10temp|zenpower", re.IGNORECASE)),
)
_MILLI = 1000


def read_temperatures(files: KernelFiles) -> tuple[Temperature, ...]:
    """Read every sensor that answers with a possible value."""
    zones = {
        path: name for path in files.glob("sys/class/thermal/thermal_zone*") if (name := files.text(path / "type"))
    }
    found = [_zone(files, path, name) for path, name in zones.items()]
    known = {_plain(name) for name in zones.values()}
    for chip in files.glob("sys/class/hwmon/hwmon*"):
        name = files.text(chip / "name")
        # The kernel shows each thermal zone a second time among the chips.
        if name is not None and _plain(name) not in known:
            found += [_chip_sensor(files, chip, name, path) for path in files.glob(_inputs(files, chip))]
    return tuple(each for each in found if each is not None)


def _inputs(files: KernelFiles, chip: Path) -> str:
    return f"{chip.relative_to(files.root)}/temp*_input"


def _zone(files: KernelFiles, path: Path, name: str) -> Temperature | None:
    celsius = _celsius(files.number(path / "temp"))
    if celsius is None:
        return None
    return Temperature(name.removesuffix("-thermal"), _part(name), celsius, _critical_trip(files, path))


def _critical_trip(files: KernelFiles, zone: Path) -> float | None:
    for trip in files.glob(f"{zone.relative_to(files.root)}/trip_point_*_type"):
        if files.text(trip) == "critical":
            return _celsius(files.number(trip.with_name(trip.name.replace("_type", "_temp"))))
    return None


def _chip_sensor(files: KernelFiles, chip: Path, name: str, path: Path) -> Temperature | None:
    celsius = _celsius(files.number(path))
    if celsius is None:
        return None
    number = path.name.removesuffix("_input")
    label = files.text(chip / f"{number}_label")
    return Temperature(
        f"{name} {label or number}", _part(name), celsius, _celsius(files.number(chip / f"{number}_crit"))
    )


def _celsius(millidegrees: int | None) -> float | None:
    lowest, highest = _POSSIBLE_CELSIUS
    if millidegrees is None or not lowest < millidegrees / _MILLI < highest:
        return None
    return millidegrees / _MILLI


def _part(name: str) -> Part:
    return next((part for part, pattern in _PARTS if pattern.search(name)), Part.BOARD)


def _plain(name: str) -> str:
    return name.replace("-", "_")
