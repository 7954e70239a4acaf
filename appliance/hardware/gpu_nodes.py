"""The device nodes without which CUDA says that there is no GPU, for as long as its process lives."""

import time
from collections.abc import Callable
from pathlib import Path

_LOOK_EVERY_S = 0.5
_TEGRA = ("etc/nv_tegra_release", "proc/device-tree/compatible")
_DISCRETE = ("dev/nvidiactl", "dev/nvidia-uvm")
_FIRST = "dev/nvidia0"
_JETSON = ("dev/nvmap", "dev/nvhost-ctrl-gpu|dev/nvgpu/igpu0/ctrl")  # JetPack 5 and older, and newer


def missing_nodes(root: Path = Path("/")) -> list[str]:
    """Name what is not there yet, as paths; empty if a process could use the GPU now."""
    wanted = _JETSON if _is_jetson(root) else (*_DISCRETE, _FIRST)
    return [
        f"/{each.partition('|')[0]}" for each in wanted if not any((root / node).exists() for node in each.split("|"))
    ]


def wait_for_nodes(
    timeout_s: float,
    root: Path = Path("/"),
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Wait until nothing is missing; returns what still is after the time."""
    deadline_s = now_s() + timeout_s
    while (missing := missing_nodes(root)) and now_s() < deadline_s:
        sleep(_LOOK_EVERY_S)
    return missing


def _is_jetson(root: Path) -> bool:
    if (root / _TEGRA[0]).exists():
        return True
    try:
        return b"nvidia,tegra" in (root / _TEGRA[1]).read_bytes()
    except OSError:
        return False
