"""A machine's facts as a message: what is not known stays absent."""

from typing import Any

from google.protobuf.message import Message

from appliance.hardware.hardware import Disk, GpuState, Hardware, Temperature
from appliance.hardware.watch import WatchedHardware
from appliance.rpc.pb import appliance_admin_pb2 as pb


def hardware_message(watched: WatchedHardware) -> pb.Hardware:
    """Write what was read last."""
    hardware = watched.hardware
    message = pb.Hardware(age_s=watched.age_s, throttling_known=hardware.throttling is not None)
    _set_known(
        message,
        board=hardware.board,
        jetson_linux=hardware.jetson_linux,
        processor=hardware.processor,
        processor_count=hardware.processor_count,
        memory_total_bytes=hardware.memory.total_bytes,
        memory_available_bytes=hardware.memory.available_bytes,
        swap_total_bytes=hardware.memory.swap_total_bytes,
        swap_free_bytes=hardware.memory.swap_free_bytes,
        power_mode=hardware.power_mode,
    )
    _add_lists(message, hardware)
    if hardware.disk is not None:
        message.disk.CopyFrom(_disk(hardware.disk))
    if watched.watched_s is not None:
        message.history.watched_s = watched.watched_s
        _set_known(
            message.history,
            throttle_episodes=watched.throttle_episodes,
            last_throttled_s_ago=watched.last_throttled_s_ago,
        )
        if watched.hottest is not None:
            message.history.hottest.CopyFrom(_temperature(watched.hottest))
    return message


def _add_lists(message: pb.Hardware, hardware: Hardware) -> None:
    message.temperatures.extend(_temperature(each) for each in hardware.temperatures)
    message.gpus.extend(_gpu(gpu) for gpu in hardware.gpus)
    for rail in hardware.power_rails:
        message.power_rails.add(name=rail.name, watts=rail.watts)
    for throttle in hardware.throttling or ():
        message.throttling.add(part=throttle.part, reason=throttle.reason)
    for each in hardware.throttle_counts:
        message.throttle_counts.add(part=each.throttle.part, reason=each.throttle.reason, count=each.count)


def _temperature(temperature: Temperature) -> pb.Temperature:
    message = pb.Temperature(sensor=temperature.sensor, part=temperature.part, celsius=temperature.celsius)
    _set_known(message, critical_celsius=temperature.critical_celsius)
    return message


def _gpu(gpu: GpuState) -> pb.GpuStatus:
    message = pb.GpuStatus(name=gpu.name)
    _set_known(
        message,
        uuid=gpu.uuid,
        celsius=gpu.celsius,
        slowdown_celsius=gpu.slowdown_celsius,
        memory_total_bytes=gpu.memory_total_bytes,
        memory_used_bytes=gpu.memory_used_bytes,
        load=gpu.load,
        watts=gpu.watts,
        watts_limit=gpu.watts_limit,
        clock_hz=gpu.clock_hz,
        clock_max_hz=gpu.clock_max_hz,
        performance_state=gpu.performance_state,
        uncorrected_memory_errors=gpu.uncorrected_memory_errors,
        heat_throttled_s=gpu.heat_throttled_s,
        problem=gpu.problem or None,
    )
    return message


def _disk(disk: Disk) -> pb.DiskStatus:
    message = pb.DiskStatus(
        total_bytes=disk.total_bytes, free_bytes=disk.free_bytes, read_only=disk.read_only, devices=disk.devices
    )
    _set_known(message, wear=disk.wear, end_of_life=disk.end_of_life)
    return message


def _set_known(message: Message, **values: Any) -> None:
    for name, value in values.items():
        if value is not None:
            setattr(message, name, value)
