"""`appliance device`: everything that this machine tells of itself, sensor by sensor; no daemon is needed."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import print_facts, print_json
from appliance.errors import Failed

if TYPE_CHECKING:
    from appliance.rpc.pb import appliance_admin_pb2 as pb


def device(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Show every sensor, GPU, power rail and disk of this machine, and what slows it down. Changes nothing."""
    from appliance.cli.documents import document_of  # noqa: PLC0415  (heavy: not for --help)
    from appliance.hardware.reader import LONGEST_READ_S, HardwareReader, read_within  # noqa: PLC0415
    from appliance.hardware.watch import WatchedHardware  # noqa: PLC0415
    from appliance.rpc.hardware_message import hardware_message  # noqa: PLC0415

    hardware = read_within(HardwareReader(read_settings(config, state).layout.root))
    if hardware is None:
        raise Failed(
            f"a driver of this machine does not answer within {LONGEST_READ_S:.0f} s",
            hint="see what the kernel says of it: journalctl -k",
        )
    message = hardware_message(WatchedHardware(hardware, age_s=0.0))
    if as_json:
        print_json(document_of(message))
    else:
        print_facts(list(_lines(message)))


def _lines(hardware: "pb.Hardware") -> Iterator[tuple[str, object]]:
    from appliance.cli.hardware_lines import disk_text, gpu_text, slowed_down  # noqa: PLC0415
    from appliance.cli.output import format_size  # noqa: PLC0415

    texts = ("board", "jetson_linux", "processor", "processor_count", "power_mode")
    yield from ((name.replace("_", " "), getattr(hardware, name)) for name in texts if hardware.HasField(name))
    for name in ("memory_total_bytes", "memory_available_bytes", "swap_total_bytes", "swap_free_bytes"):
        if hardware.HasField(name):
            yield name.removesuffix("_bytes").replace("_", " "), format_size(getattr(hardware, name))
    if hardware.HasField("disk"):
        yield "disk", disk_text(hardware.disk)
    for gpu in hardware.gpus:
        yield "gpu", gpu_text(gpu) + (f", {gpu.uuid}" if gpu.HasField("uuid") else "")
    for each in hardware.temperatures:
        critical = f" (critical {each.critical_celsius:.0f} C)" if each.HasField("critical_celsius") else ""
        yield "temperature", f"{each.sensor} {each.celsius:.1f} C{critical}"
    yield from (("power", f"{rail.name} {rail.watts:.1f} W") for rail in hardware.power_rails)
    if slowed := slowed_down(hardware):
        yield "slowed down", slowed
    for count in hardware.throttle_counts:
        reason = count.reason.lower().replace("_", " ")
        yield "counted", f"{count.part}, {reason}: {count.count} times since the machine started"
