"""Versions of the NVIDIA driver and of JetPack, from the files in which they are written down."""

import re
import sys
from pathlib import Path

SUPPORTED_L4T = 38  # JetPack 7: the first with Python 3.12 and CUDA 13
SUPPORTED_PYTHON = (3, 11)
_MODULE_VERSION = Path("/sys/module/nvidia/version")
_DRIVER_VERSION = Path("/proc/driver/nvidia/version")
_L4T_RELEASE = Path("/etc/nv_tegra_release")
_DEVICE_MODEL = Path("/proc/device-tree/model")
_JETPACKS = {39: "7", 38: "7", 36: "6", 35: "5", 34: "5", 32: "4"}


def driver_version() -> str:
    """Version of the loaded kernel module, "580.95.05"; empty if none is loaded."""
    return parse_module_version(_read(_MODULE_VERSION)) or parse_driver_version(_read(_DRIVER_VERSION))


def l4t_release() -> str:
    """Release of Jetson Linux, "38.2.0"; empty elsewhere."""
    return parse_l4t_release(_read(_L4T_RELEASE))


def jetpack_problem() -> str:
    """Why this Jetson's JetPack cannot be used; empty if it can, or if this is no Jetson."""
    return judge_jetpack(l4t_release(), device_model(), sys.version_info[:2])


def device_model() -> str:
    """The board in the device tree's words, "NVIDIA Jetson AGX Orin Developer Kit"; empty on most PCs."""
    return _read(_DEVICE_MODEL).rstrip("\0").strip()


def parse_module_version(text: str) -> str:
    """Read /sys/module/nvidia/version: the version and nothing else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)+)\s*", text)
    return found[1] if found else ""


def parse_driver_version(text: str) -> str:
    """Read the first line of /proc/driver/nvidia/version, which names module, architecture, version and date."""
    found = re.search(r"^NVRM version:.*?\s(\d{3,}\.\d+(?:\.\d+)*)\s", text, re.MULTILINE)
    return found[1] if found else ""


def parse_l4t_release(text: str) -> str:
    """Read the first line of /etc/nv_tegra_release: '# R38 (release), REVISION: 2.0, GCID: ...'."""
    found = re.search(r"^#\s*R(\d+)\s*\(release\),\s*REVISION:\s*(\d+(?:\.\d+)*)", text, re.MULTILINE)
    return f"{found[1]}.{found[2]}" if found else ""


def judge_jetpack(l4t: str, model: str, python: tuple[int, int]) -> str:
    """Say why a Jetson with this L4T release and Python cannot be used; '' if it can, or if it is no Jetson."""
    if not l4t:
        if "jetson" not in model.casefold():
            return ""
        return f"{model} has no /etc/nv_tegra_release, expected JetPack 7 or newer (Jetson Linux {SUPPORTED_L4T})"
    release = int(l4t.partition(".")[0])
    if release < SUPPORTED_L4T:
        found = f"JetPack {_JETPACKS[release]} (" if release in _JETPACKS else "("
        return f"found {found}Jetson Linux {l4t}), expected JetPack 7 or newer (Jetson Linux {SUPPORTED_L4T})"
    if python < SUPPORTED_PYTHON:
        found = ".".join(map(str, python))
        return f"found Python {found}, expected {'.'.join(map(str, SUPPORTED_PYTHON))} or newer"
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # not this kind of machine
        return ""
