"""A machine's facts as lines for people, in ASCII. What it does not tell has no line."""

from collections.abc import Iterable, Iterator

from appliance.cli.output import format_duration, format_size
from appliance.rpc.pb import appliance_admin_pb2 as pb

Line = tuple[str, object]
_PARTS = ("CPU", "GPU", "DISK", "BOARD")


def hardware_lines(answer: pb.StatusResponse) -> Iterator[Line]:
    """Say the machine's facts in one line for each kind."""
    if not answer.HasField("hardware"):
        return
    hardware = answer.hardware
    if board := ", ".join(_board(hardware)):
        yield "board", board
    yield from (("gpu", gpu_text(gpu)) for gpu in hardware.gpus)
    if temperatures := _temperatures(hardware):
        yield "temperature", temperatures
    if slowed := slowed_down(hardware):
        yield "slowed down", slowed
    if power := ", ".join(_power(hardware)):
        yield "power mode", power
    if hardware.HasField("memory_available_bytes"):
        own = f", {format_size(answer.rss_bytes)} is the daemon's" if answer.rss_bytes else ""
        yield "memory", f"{_of(hardware.memory_available_bytes, hardware.memory_total_bytes)} available{own}"
    if hardware.HasField("disk"):
        yield "disk", disk_text(hardware.disk)


def _board(hardware: pb.Hardware) -> Iterator[str]:
    if hardware.HasField("board"):
        yield hardware.board
    if hardware.HasField("jetson_linux"):
        yield f"Jetson Linux {hardware.jetson_linux}"
    if hardware.HasField("processor_count"):
        yield f"{hardware.processor_count} processors"


def gpu_text(gpu: pb.GpuStatus) -> str:
    """Say how one GPU is."""
    if gpu.HasField("problem"):
        return f"{gpu.name}: {gpu.problem}"
    return ", ".join([gpu.name, *_gpu_numbers(gpu)])


def _gpu_numbers(gpu: pb.GpuStatus) -> Iterator[str]:
    if gpu.HasField("celsius"):
        yield f"{gpu.celsius:.0f} C"
    if gpu.HasField("load"):
        yield f"{gpu.load:.0%} busy"
    if gpu.HasField("memory_used_bytes"):
        yield f"{_of(gpu.memory_used_bytes, gpu.memory_total_bytes)} used"
    if gpu.HasField("watts"):
        limit = f" of {gpu.watts_limit:.0f}" if gpu.HasField("watts_limit") else ""
        yield f"{gpu.watts:.0f}{limit} W"
    if gpu.HasField("clock_hz"):
        limit = f" of {gpu.clock_max_hz / 1e6:.0f}" if gpu.HasField("clock_max_hz") else ""
        yield f"{gpu.clock_hz / 1e6:.0f}{limit} MHz"
    if gpu.uncorrected_memory_errors:
        yield f"{gpu.uncorrected_memory_errors} memory errors"


def _temperatures(hardware: pb.Hardware) -> str:
    """Name the hottest sensor of each part, and the hottest since the daemon started."""
    gpus = [pb.Temperature(part="GPU", celsius=gpu.celsius) for gpu in hardware.gpus if gpu.HasField("celsius")]
    highest = _highest([*hardware.temperatures, *gpus])
    texts = [f"{part} {highest[part]:.0f}" for part in _PARTS if part in highest]
    if not texts:
        return ""
    since = ""
    if hardware.HasField("history") and hardware.history.HasField("hottest"):
        hottest = hardware.history.hottest
        since = f"; highest {hottest.celsius:.0f} C ({hottest.sensor})"
    return f"{', '.join(texts)} C{since}"


def _highest(temperatures: Iterable[pb.Temperature]) -> dict[str, float]:
    highest: dict[str, float] = {}
    for each in temperatures:
        highest[each.part] = max(each.celsius, highest.get(each.part, each.celsius))
    return highest


def slowed_down(hardware: pb.Hardware) -> str:
    """Say what slows the machine down, and how often something has; '' if it does not tell."""
    now = ", ".join(f"{each.part}: {each.reason.lower().replace('_', ' ')}" for each in hardware.throttling)
    parts = [f"NOW by {now}" if now else "no"] if hardware.throttling_known else []
    if hardware.HasField("history") and hardware.history.throttle_episodes:
        history = hardware.history
        ago = f", last {format_duration(history.last_throttled_s_ago)} ago"
        times = f"{history.throttle_episodes} time{'' if history.throttle_episodes == 1 else 's'}"
        parts.append(f"{times} since the daemon started{ago}")
    return "; ".join(parts)


def _power(hardware: pb.Hardware) -> Iterator[str]:
    if hardware.HasField("power_mode"):
        yield hardware.power_mode
    if len(hardware.power_rails) == 1:
        yield f"{hardware.power_rails[0].watts:.1f} W"


def disk_text(disk: pb.DiskStatus) -> str:
    """Say how much room there is, and how worn the disk is."""
    texts = [f"{_of(disk.free_bytes, disk.total_bytes)} free"]
    if disk.devices:
        texts.append(" ".join(disk.devices))
    if disk.read_only:
        texts.append("READ ONLY")
    if disk.HasField("wear"):
        texts.append(f"up to {disk.wear:.0%} of its life used")
    if disk.end_of_life not in ("", "NORMAL"):
        texts.append(f"{disk.end_of_life}: replace it")
    return ", ".join(texts)


def _of(part_bytes: int, whole_bytes: int) -> str:
    return f"{format_size(part_bytes)} of {format_size(whole_bytes)}" if whole_bytes else format_size(part_bytes)
