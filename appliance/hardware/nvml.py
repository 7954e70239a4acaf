"""NVIDIA's management library, called directly. Nothing here changes a setting of a GPU.

A call that the GPU does not support, or that this driver does not know, has no answer: None. The library is opened
once and kept: opening it starts up a GPU that nobody uses, which takes seconds.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, Self

LIBRARY = "libnvidia-ml.so.1"
SUCCESS = 0
GPU_IS_LOST = 15
TEXT_BYTES = 96

_Handle = ctypes.c_void_p
_Number = ctypes.c_uint
_Out = ctypes.c_void_p

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "nvmlInit_v2": (),
    "nvmlShutdown": (),
    "nvmlDeviceGetCount_v2": (_Out,),
    "nvmlDeviceGetHandleByIndex_v2": (_Number, _Out),
    "nvmlDeviceGetName": (_Handle, _Out, _Number),
    "nvmlDeviceGetUUID": (_Handle, _Out, _Number),
    "nvmlDeviceGetTemperature": (_Handle, _Number, _Out),
    "nvmlDeviceGetTemperatureThreshold": (_Handle, _Number, _Out),
    "nvmlDeviceGetMemoryInfo": (_Handle, _Out),
    "nvmlDeviceGetUtilizationRates": (_Handle, _Out),
    "nvmlDeviceGetPowerUsage": (_Handle, _Out),
    "nvmlDeviceGetEnforcedPowerLimit": (_Handle, _Out),
    "nvmlDeviceGetPerformanceState": (_Handle, _Out),
    "nvmlDeviceGetClockInfo": (_Handle, _Number, _Out),
    "nvmlDeviceGetMaxClockInfo": (_Handle, _Number, _Out),
    "nvmlDeviceGetCurrentClocksEventReasons": (_Handle, _Out),
    "nvmlDeviceGetCurrentClocksThrottleReasons": (_Handle, _Out),
    "nvmlDeviceGetTotalEccErrors": (_Handle, _Number, _Number, _Out),
    "nvmlDeviceGetViolationStatus": (_Handle, _Number, _Out),
}


class Memory(ctypes.Structure):
    """nvmlMemory_t, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Utilization(ctypes.Structure):
    """nvmlUtilization_t, in per cent."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class ViolationTime(ctypes.Structure):
    """nvmlViolationTime_t: microseconds of reference, nanoseconds of violation."""

    _fields_ = (("reference", ctypes.c_ulonglong), ("violation", ctypes.c_ulonglong))


class Nvml:
    """One opened library. Used by one thread at a time."""

    def __init__(self, library: Any) -> None:
        """library: what ctypes loaded; the caller has found out that it starts (see `open`)."""
        self._library = library

    @classmethod
    def open(cls, library: Any = None) -> Self | None:
        """Load and start the library; None where there is none, or no driver. library: instead of the system's."""
        try:
            opened = cls(ctypes.CDLL(LIBRARY) if library is None else library)
        except OSError:
            return None
        return opened if opened.call("nvmlInit_v2") == SUCCESS else None

    def close(self) -> None:
        """Let the library go."""
        self.call("nvmlShutdown")

    def call(self, name: str, *arguments: Any) -> int | None:
        """Return the code that a function ends with; None if this library has no such function."""
        try:
            function = getattr(self._library, name)
        except AttributeError:
            return None
        function.argtypes, function.restype = ARGUMENTS[name], ctypes.c_int
        code: int = function(*arguments)
        return code

    def devices(self) -> Sequence["NvmlDevice"]:
        """Return every GPU that the driver shows to this process."""
        count = ctypes.c_uint()
        if self.call("nvmlDeviceGetCount_v2", ctypes.byref(count)) != SUCCESS:
            return ()
        return [NvmlDevice(self, index) for index in range(count.value)]


class NvmlDevice:
    """One GPU. code: what the driver says of it, SUCCESS if it answers."""

    def __init__(self, library: Nvml, index: int) -> None:
        self.index = index
        self._library = library
        self._handle = ctypes.c_void_p()
        self.code = library.call("nvmlDeviceGetHandleByIndex_v2", index, ctypes.byref(self._handle))

    def text(self, function: str) -> str | None:
        """Ask for a name."""
        buffer = ctypes.create_string_buffer(TEXT_BYTES)
        if not self._answers(function, ctypes.byref(buffer), TEXT_BYTES):
            return None
        return buffer.value.decode("utf-8", "replace") or None

    def number(self, function: str, *which: int) -> int | None:
        """Ask for a whole number of 32 bits."""
        value = ctypes.c_uint()
        return value.value if self._answers(function, *which, ctypes.byref(value)) else None

    def long_number(self, function: str, *which: int) -> int | None:
        """Ask for a whole number of 64 bits."""
        value = ctypes.c_ulonglong()
        return value.value if self._answers(function, *which, ctypes.byref(value)) else None

    def memory(self) -> Memory | None:
        """Ask for its memory."""
        memory = Memory()
        return memory if self._answers("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)) else None

    def utilization(self) -> Utilization | None:
        """Ask how busy it was."""
        utilization = Utilization()
        return utilization if self._answers("nvmlDeviceGetUtilizationRates", ctypes.byref(utilization)) else None

    def violation(self, policy: int) -> ViolationTime | None:
        """Ask how long one policy has slowed it down."""
        time = ViolationTime()
        return time if self._answers("nvmlDeviceGetViolationStatus", policy, ctypes.byref(time)) else None

    def _answers(self, function: str, *arguments: Any) -> bool:
        if self.code != SUCCESS:
            return False
        code = self._library.call(function, self._handle, *arguments)
        if code == GPU_IS_LOST:
            self.code = code
        return code == SUCCESS
