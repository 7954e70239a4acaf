"""What software and hardware the report is about."""

import platform
import re
import sys
from importlib import metadata
from pathlib import Path

import appliance
from appliance.backends.probe import ProbeReport

_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "numpy", "grpcio", "onnx", "pytest")


def versions(report: ProbeReport) -> dict[str, str]:
    """Name -> version, of everything that numbers could depend on."""
    found = {
        "appliance": appliance.__version__,
        "python": sys.version.split()[0],
        "system": _system(),
        "kernel": platform.release(),
        "processor": _processor(),
        "NVIDIA driver": report.driver,
        "CUDA of the driver": report.machine.cuda,
        "Jetson Linux": report.l4t,
    }
    found |= {f"GPU {gpu.ordinal}": f"{gpu.name}, compute capability {gpu.compute_capability}" for gpu in report.gpus}
    found |= {flavour.name: flavour.version for flavour in report.flavours}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {name: version for name, version in found.items() if version}


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE)
    return f"{platform.machine()}{f', {found[1]}' if found else ''}"
