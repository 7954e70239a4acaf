"""The GPU of a Jetson as the kernel shows it: NVML says almost nothing there."""

import re
from pathlib import Path

from appliance.hardware.hardware import GpuState
from appliance.hardware.kernel_files import KernelFiles

# "17000000.gpu", "17000000.ga10b" and "gpu-gpc-0" over the releases of Jetson Linux.
_GPU = re.compile(r".*(gpu|ga10b|gv11b|gp10b).*")
_LOADS = ("sys/devices/platform/*gpu*/load", "sys/devices/platform/*/*gpu*/load", "sys/devices/gpu.0/load")
_PER_MILLE = 1000


def read_integrated_gpu(files: KernelFiles) -> GpuState | None:
    """Read its clock and load; None if there is none."""
    device = next((path for path in files.glob("sys/class/devfreq/*") if _GPU.fullmatch(path.name)), None)
    if device is None:
        return None
    return GpuState(
        name="integrated",
        clock_hz=files.number(device / "cur_freq"),
        clock_max_hz=files.number(device / "max_freq"),
        load=_load(files),
    )


def _load(files: KernelFiles) -> float | None:
    paths: list[Path] = [path for pattern in _LOADS for path in files.glob(pattern)]
    values = [value for path in paths if (value := files.number(path)) is not None and 0 <= value <= _PER_MILLE]
    return values[0] / _PER_MILLE if values else None
