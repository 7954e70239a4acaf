"""Metrics of the machine, the clock and the last update. What a machine does not tell is no sample, not 0."""

from typing import Any

from appliance.cli.prometheus_text import MetricFamily
from appliance.rpc.pb import appliance_admin_pb2 as pb

Sample = tuple[dict[str, str], float]

_GPU_NUMBERS: tuple[tuple[str, str, str], ...] = (
    ("appliance_gpu_celsius", "celsius", "Temperature of a GPU"),
    ("appliance_gpu_memory_used_bytes", "memory_used_bytes", "Memory of a GPU that is in use"),
    ("appliance_gpu_memory_total_bytes", "memory_total_bytes", "Memory of a GPU"),
    ("appliance_gpu_load_ratio", "load", "Share of time in which a GPU computed"),
    ("appliance_gpu_watts", "watts", "Power that a GPU takes"),
    ("appliance_gpu_clock_hertz", "clock_hz", "Clock of a GPU"),
)
_GPU_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("appliance_gpu_memory_errors_total", "uncorrected_memory_errors", "Memory errors that were not corrected"),
    ("appliance_gpu_heat_throttled_seconds_total", "heat_throttled_s", "Time in which heat slowed a GPU down"),
)
_HISTORY_COUNTERS: tuple[tuple[str, str, str], ...] = (
    ("appliance_throttle_episodes_total", "throttle_episodes", "Since the daemon started"),
)
_MACHINE_NUMBERS: tuple[tuple[str, str, str], ...] = (
    ("appliance_memory_available_bytes", "memory_available_bytes", "Memory that could be had without swapping"),
    ("appliance_memory_total_bytes", "memory_total_bytes", "Memory of the machine"),
)


def box_families(status: pb.StatusResponse) -> list[MetricFamily]:
    """Turn what an answer says of the box into metrics."""
    families = [*_clock(status), *_slots(status)]
    if status.HasField("hardware"):
        families += [*_machine(status.hardware), *_disk(status.hardware), *_gpus(status.hardware)]
    return families


def _clock(status: pb.StatusResponse) -> list[MetricFamily]:
    suspect: list[Sample] = [({}, status.clock.suspect)] if status.HasField("clock") else []
    finished_s = status.device.ticket_finished_unix_s
    return [
        MetricFamily("appliance_clock_suspect", "gauge", "Whether the clock is before what is known", suspect),
        MetricFamily(
            "appliance_last_update_timestamp_seconds",
            "gauge",
            "When the last update was confirmed",
            [({}, finished_s)] if finished_s else [],
        ),
    ]


def _slots(status: pb.StatusResponse) -> list[MetricFamily]:
    if not status.HasField("slots"):
        return []
    slots = status.slots
    usable: list[Sample] = [
        ({"slot": slot.name, "version": slot.version, "running": str(slot.name == slots.running).lower()}, 1)
        for slot in slots.slots
        if slot.version and not slot.problem
    ]
    return [MetricFamily("appliance_slot_usable", "gauge", "Software slots that may be started", usable)]


def _machine(hardware: pb.Hardware) -> list[MetricFamily]:
    temperatures: list[Sample] = [
        ({"sensor": each.sensor, "part": each.part}, each.celsius) for each in hardware.temperatures
    ]
    throttling: list[Sample] = [({"part": each.part, "reason": each.reason}, 1) for each in hardware.throttling]
    counts: list[Sample] = [
        ({"part": each.part, "reason": each.reason}, each.count) for each in hardware.throttle_counts
    ]
    mode: list[Sample] = [({"mode": hardware.power_mode}, 1)] if hardware.HasField("power_mode") else []
    rails: list[Sample] = [({"rail": rail.name}, rail.watts) for rail in hardware.power_rails]
    return [
        MetricFamily("appliance_facts_age_seconds", "gauge", "Since the machine was read", [({}, hardware.age_s)]),
        MetricFamily("appliance_temperature_celsius", "gauge", "Temperatures of the machine", temperatures),
        MetricFamily("appliance_throttled", "gauge", "Parts that are slowed down now", throttling),
        MetricFamily("appliance_throttle_events_total", "counter", "Since the machine started", counts),
        *_numbers(_HISTORY_COUNTERS, "counter", [({}, hardware.history)]),
        MetricFamily("appliance_power_mode_info", "gauge", "The power mode in force", mode),
        MetricFamily("appliance_power_watts", "gauge", "Power on measured rails", rails),
        *_numbers(_MACHINE_NUMBERS, "gauge", [({}, hardware)]),
    ]


def _disk(hardware: pb.Hardware) -> list[MetricFamily]:
    if not hardware.HasField("disk"):
        return []
    disk = hardware.disk
    return [
        MetricFamily("appliance_disk_free_bytes", "gauge", "Room on the state's disk", [({}, disk.free_bytes)]),
        MetricFamily("appliance_disk_total_bytes", "gauge", "Size of the state's disk", [({}, disk.total_bytes)]),
        MetricFamily("appliance_disk_read_only", "gauge", "Whether it cannot be written", [({}, disk.read_only)]),
        *_numbers((("appliance_disk_wear_ratio", "wear", "Share of its life used"),), "gauge", [({}, disk)]),
    ]


def _gpus(hardware: pb.Hardware) -> list[MetricFamily]:
    gpus: list[tuple[dict[str, str], Any]] = [
        ({"gpu": gpu.uuid or str(number), "name": gpu.name}, gpu) for number, gpu in enumerate(hardware.gpus)
    ]
    answering: list[Sample] = [(labels, not gpu.HasField("problem")) for labels, gpu in gpus]
    return [
        MetricFamily("appliance_gpu_answers", "gauge", "Whether a GPU answers", answering),
        *_numbers(_GPU_NUMBERS, "gauge", gpus),
        *_numbers(_GPU_COUNTERS, "counter", gpus),
    ]


def _numbers(
    table: tuple[tuple[str, str, str], ...], kind: str, messages: list[tuple[dict[str, str], Any]]
) -> list[MetricFamily]:
    return [MetricFamily(name, kind, text, _known(field, messages)) for name, field, text in table]


def _known(field: str, messages: list[tuple[dict[str, str], Any]]) -> list[Sample]:
    return [(labels, getattr(message, field)) for labels, message in messages if message.HasField(field)]
