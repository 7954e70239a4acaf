"""Which GPUs the driver shows, and their free memory."""

import ctypes
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from appliance.backends.cuda.driver import UUID_BYTES, Driver
from appliance.backends.cuda.platform import driver_version, jetpack_problem, l4t_release
from appliance.errors import InvalidInput, NotFound

__all__ = [
    "Gpu",
    "choose_gpu",
    "driver_version",
    "free_bytes",
    "gpu_by_uuid",
    "jetpack_problem",
    "l4t_release",
    "list_gpus",
]

_NAME_BYTES = 256
_INTEGRATED, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 18, 75, 76  # CUdevice_attribute


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, or one slice of a divided one (MIG)."""

    ordinal: int  # as CUDA counts them, CUDA_VISIBLE_DEVICES applied; may change from one start to the next
    uuid: str  # "GPU-..." or "MIG-...": never changes
    name: str  # "NVIDIA L4"
    compute_capability: str  # "8.9"
    total_bytes: int
    integrated: bool  # shares the memory of the CPU (Jetson)
    handle: int = 0  # CUdevice

    @property
    def uuid_class(self) -> str:
        """The first part of the UUID, "GPU" or "MIG"."""
        return self.uuid.partition("-")[0]


def list_gpus(driver: Driver) -> tuple[Gpu, ...]:
    """Return all GPUs in CUDA's order; none is not an error here."""
    count = ctypes.c_int()
    driver.call("cuDeviceGetCount", ctypes.byref(count))
    return tuple(_gpu(driver, ordinal) for ordinal in range(count.value))


def gpu_by_uuid(gpus: Sequence[Gpu], wanted: str) -> Gpu:
    """Return the GPU with this UUID; its beginning is enough where only one GPU has it. Raises NotFound."""
    found = [gpu for gpu in gpus if gpu.uuid.casefold().startswith(wanted.casefold())] if wanted else []
    if len(found) != 1:
        problem = "names no GPU of this machine" if not found else f"fits {len(found)} GPUs"
        raise NotFound(f"GPU '{wanted}' {problem}, expected {_choices(gpus)}", hint="list them: nvidia-smi -L")
    return found[0]


def choose_gpu(gpus: Sequence[Gpu], *, ordinals: Sequence[int] = (), wanted: str = "") -> Gpu:
    """Return the GPU that an instance group names by ordinal, else the one with UUID `wanted`, else the first.

    Raises InvalidInput for an ordinal that is not there or for several at once, NotFound for anything else.
    """
    if len(ordinals) > 1:
        raise InvalidInput(
            f"one instance group names GPUs {list(ordinals)}, expected one", hint="write one instance_group per GPU"
        )
    if not gpus:
        raise NotFound("the NVIDIA driver shows no GPU", hint="look at the driver: nvidia-smi")
    if not ordinals:
        return gpu_by_uuid(gpus, wanted) if wanted else gpus[0]
    found = [gpu for gpu in gpus if gpu.ordinal == ordinals[0]]
    if not found:
        raise InvalidInput(
            f"instance group names GPU {ordinals[0]}, this machine has {_choices(gpus)}",
            hint="list them: nvidia-smi -L",
        )
    return found[0]


def free_bytes(driver: Driver, gpu: Gpu) -> int:
    """Memory that can still be allocated on the GPU, whose context must be current on this thread.

    On integrated GPUs that is what the kernel could free for anybody: CUDA's own number there leaves out everything
    that is merely cached.
    """
    if gpu.integrated:
        return int(psutil.virtual_memory().available)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    driver.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    return free.value


def _gpu(driver: Driver, ordinal: int) -> Gpu:
    handle, name, total = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    driver.call("cuDeviceGet", ctypes.byref(handle), ordinal)
    driver.call("cuDeviceGetName", name, _NAME_BYTES, handle)
    driver.call("cuDeviceTotalMem_v2", ctypes.byref(total), handle)
    own_id = _uuid(driver, "cuDeviceGetUuid_v2", handle)
    board_id = _uuid(driver, "cuDeviceGetUuid", handle) if driver.has("cuDeviceGetUuid") else own_id
    text = name.value.decode("utf-8", "replace")
    # The older function gives the board's UUID, the newer one the slice's.
    kind = "MIG" if own_id != board_id or " MIG " in text else "GPU"
    major, minor = (_attribute(driver, number, handle) for number in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR))
    return Gpu(
        ordinal=ordinal,
        uuid=f"{kind}-{own_id}",
        name=text,
        compute_capability=f"{major}.{minor}",
        total_bytes=total.value,
        integrated=bool(_attribute(driver, _INTEGRATED, handle)),
        handle=handle.value,
    )


def _uuid(driver: Driver, function: str, handle: ctypes.c_int) -> uuid.UUID:
    buffer = (ctypes.c_ubyte * UUID_BYTES)()
    driver.call(function, ctypes.byref(buffer), handle)
    return uuid.UUID(bytes=bytes(buffer))


def _attribute(driver: Driver, number: int, handle: ctypes.c_int) -> int:
    value = ctypes.c_int()
    driver.call("cuDeviceGetAttribute", ctypes.byref(value), number, handle)
    return value.value


def _choices(gpus: Sequence[Gpu]) -> str:
    return ", ".join(f"{gpu.ordinal}: {gpu.uuid} ({gpu.name})" for gpu in gpus) or "none"
