"""Reads everything that a machine tells of itself, at one moment.

Kernel files answer at once or not at all; a driver may hang. Whoever must not wait asks `read_within`.
"""

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

from appliance.hardware.disk import read_disk
from appliance.hardware.hardware import GpuState, Hardware, Throttle, gpu_part
from appliance.hardware.integrated_gpu import read_integrated_gpu
from appliance.hardware.kernel_files import KernelFiles
from appliance.hardware.machine import (
    read_board,
    read_jetson_linux,
    read_memory,
    read_processor,
    read_processor_count,
)
from appliance.hardware.nvidia_gpus import read_nvidia_gpus
from appliance.hardware.nvml import Nvml
from appliance.hardware.power import read_power_mode, read_power_rails
from appliance.hardware.temperatures import read_temperatures
from appliance.hardware.throttling import read_throttle_counts, read_throttling

LONGEST_READ_S = 5.0


class HardwareReader:
    """Reads one machine. Used by one thread at a time; holds the GPUs' library once it could be opened."""

    def __init__(
        self, directory: Path, root: Path = Path("/"), open_nvml: Callable[[], Nvml | None] = Nvml.open
    ) -> None:
        """directory: whose disk is meant. root: where sys, proc, etc and var are."""
        self._directory = directory
        self._files = KernelFiles(root)
        self._open_nvml = open_nvml
        self._nvml: Nvml | None = None
        self._lasting: tuple[str | None, ...] | None = None

    def read(self) -> Hardware:
        """Read it now."""
        files = self._files
        gpus = self._gpus()
        # Read once: they last, and each look at /proc/cpuinfo wakes every processor of a server.
        self._lasting = self._lasting or (read_board(files), read_jetson_linux(files), read_processor(files))
        board, jetson_linux, processor = self._lasting
        return Hardware(
            board=board,
            jetson_linux=jetson_linux,
            processor=processor,
            processor_count=read_processor_count(files),
            memory=read_memory(files),
            disk=read_disk(files, self._directory),
            temperatures=read_temperatures(files),
            power_rails=read_power_rails(files),
            power_mode=read_power_mode(files),
            throttling=_throttling(read_throttling(files), gpus),
            throttle_counts=read_throttle_counts(files),
            gpus=gpus,
        )

    def close(self) -> None:
        """Let the GPUs' library go."""
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None

    def _gpus(self) -> tuple[GpuState, ...]:
        # Asked again each time: the driver may come after the service.
        self._nvml = self._nvml or self._open_nvml()
        told = read_nvidia_gpus(self._nvml) if self._nvml is not None else ()
        own = read_integrated_gpu(self._files)
        if own is None:
            return told
        return (_completed(told[0], own), *told[1:]) if told else (own,)


def read_within(reader: HardwareReader, longest_s: float = LONGEST_READ_S) -> Hardware | None:
    """Read once; None if a driver keeps this waiting. Then its thread is left to it, and ends with the process."""
    found: list[Hardware] = []
    thread = threading.Thread(target=lambda: found.append(reader.read()), name="hardware", daemon=True)
    thread.start()
    thread.join(longest_s)
    return found[0] if found else None


def read_once(directory: Path, longest_s: float = LONGEST_READ_S) -> Hardware | None:
    """Read this machine once, with the disk of a directory; None if a driver keeps this waiting."""
    reader = HardwareReader(directory)
    hardware = read_within(reader, longest_s)
    if hardware is not None:
        reader.close()
    return hardware


def _throttling(board: tuple[Throttle, ...] | None, gpus: tuple[GpuState, ...]) -> tuple[Throttle, ...] | None:
    """Join what the board and the GPUs tell; None if nobody tells anything."""
    found = board
    for number, gpu in enumerate(gpus):
        if gpu.throttling is not None:
            found = (*(found or ()), *(Throttle(gpu_part(gpus, number), reason) for reason in gpu.throttling))
    return found


def _completed(told: GpuState, own: GpuState) -> GpuState:
    """Take what the kernel says of a Jetson's GPU where NVML says nothing."""
    missing = {
        field.name: getattr(own, field.name)
        for field in dataclasses.fields(told)
        if getattr(told, field.name) is None and getattr(own, field.name) is not None
    }
    return dataclasses.replace(told, **missing)
