"""How much power flows, and in which power mode the owner has put the machine. Nothing here sets anything."""

import re
from pathlib import Path

from appliance.hardware.hardware import PowerRail
from appliance.hardware.kernel_files import KernelFiles

_MODE = re.compile(r"pmode:0*(\d+)")
_MICRO = 1_000_000  # of millivolts times milliamperes, and of microwatts


def read_power_rails(files: KernelFiles) -> tuple[PowerRail, ...]:
    """Read every rail whose voltage and current, or whose power, is measured."""
    rails: list[PowerRail] = []
    for chip in files.glob("sys/class/hwmon/hwmon*"):
        name = files.text(chip / "name") or chip.name
        rails += [*_measured_rails(files, chip), *_measured_power(files, chip, name)]
    return tuple(rails)


def _measured_rails(files: KernelFiles, chip: Path) -> list[PowerRail]:
    rails = []
    for current in files.glob(f"{chip.relative_to(files.root)}/curr*_input"):
        number = current.name.removeprefix("curr").removesuffix("_input")
        label = files.text(chip / f"in{number}_label")
        millivolts, milliamperes = files.number(chip / f"in{number}_input"), files.number(current)
        if label is not None and millivolts is not None and milliamperes is not None:
            rails.append(PowerRail(label, millivolts * milliamperes / _MICRO))
    return rails


def _measured_power(files: KernelFiles, chip: Path, name: str) -> list[PowerRail]:
    rails = []
    for path in files.glob(f"{chip.relative_to(files.root)}/power*_input"):
        microwatts = files.number(path)
        label = files.text(path.with_name(path.name.replace("_input", "_label")))
        if microwatts is not None:
            rails.append(PowerRail(f"{name} {label or path.name.removesuffix('_input')}", microwatts / _MICRO))
    return rails


def read_power_mode(files: KernelFiles) -> str | None:
    """Name the power mode: nvpmodel's, else the firmware's profile, else the governor of the first processor."""
    mode = _MODE.search(files.text("var/lib/nvpmodel/status") or "")
    if mode is not None:
        return _mode_name(files, mode[1])
    return files.text("sys/firmware/acpi/platform_profile") or files.text(
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    )


def _mode_name(files: KernelFiles, number: str) -> str:
    found = re.search(
        rf"^\s*<\s*POWER_MODEL\s+ID={number}\s+NAME=(\S+)\s*>", files.text("etc/nvpmodel.conf") or "", re.MULTILINE
    )
    return found[1] if found else f"mode {number}"
