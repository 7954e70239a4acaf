"""What a machine is, and its memory: from the device tree or the firmware's tables, and from /proc."""

import re

from appliance.backends.cuda.platform import parse_l4t_release
from appliance.hardware.hardware import Memory
from appliance.hardware.kernel_files import KernelFiles

# What makers leave in the firmware's tables when they have nothing to say.
_NO_NAME = re.compile(r"to be filled|default string|system product|o\.e\.m\.|not specified|none", re.IGNORECASE)
_KIB = 1024


def read_board(files: KernelFiles) -> str | None:
    """Name the board in its maker's words."""
    model = files.text("proc/device-tree/model")
    if model is not None:
        return model
    words = [files.text(f"sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    return " ".join(word for word in words if word and not _NO_NAME.search(word)) or None


def read_jetson_linux(files: KernelFiles) -> str | None:
    """Return the release of Jetson Linux, '38.2.0'; None elsewhere."""
    return parse_l4t_release(files.text("etc/nv_tegra_release") or "") or None


def read_processor(files: KernelFiles) -> str | None:
    """Name the processor; Arm's kernels know only numbers of it."""
    found = re.search(r"^model name\s*:\s*(.+)$", files.text("proc/cpuinfo") or "", re.MULTILINE)
    return " ".join(found[1].split()) if found else None


def read_processor_count(files: KernelFiles) -> int | None:
    """Count the processors that are switched on: a Jetson's power modes switch some off."""
    online = files.text("sys/devices/system/cpu/online")
    if online is None or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", online):
        return None
    ranges = [part.partition("-") for part in online.split(",")]
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def read_memory(files: KernelFiles) -> Memory:
    """Read the kernel's account of memory."""
    lines = re.findall(r"^(\w+):\s+(\d+) kB$", files.text("proc/meminfo") or "", re.MULTILINE)
    sizes = {name: int(kib) * _KIB for name, kib in lines}
    return Memory(
        total_bytes=sizes.get("MemTotal"),
        available_bytes=sizes.get("MemAvailable"),
        swap_total_bytes=sizes.get("SwapTotal"),
        swap_free_bytes=sizes.get("SwapFree"),
    )
