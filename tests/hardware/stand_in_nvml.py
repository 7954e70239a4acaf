"""NVIDIA's management library in this process, behind the real binding: C functions for ctypes."""

import ctypes
from collections.abc import Mapping
from typing import Any

from appliance.hardware.nvml import ARGUMENTS

NOT_SUPPORTED = 3
L4 = {
    "nvmlDeviceGetName": "NVIDIA L4",
    "nvmlDeviceGetUUID": "GPU-5b1b0a3c-0000-0000-0000-000000000001",
    "nvmlDeviceGetTemperature": 71,
    "nvmlDeviceGetTemperatureThreshold": 95,
    "nvmlDeviceGetMemoryInfo": (24_000, 20_000, 4_000),
    "nvmlDeviceGetUtilizationRates": (87, 40),
    "nvmlDeviceGetPowerUsage": 65_250,
    "nvmlDeviceGetEnforcedPowerLimit": 72_000,
    "nvmlDeviceGetPerformanceState": 0,
    "nvmlDeviceGetClockInfo": 1_410,
    "nvmlDeviceGetMaxClockInfo": 2_040,
    "nvmlDeviceGetCurrentClocksEventReasons": 0x1,
    "nvmlDeviceGetTotalEccErrors": 0,
    "nvmlDeviceGetViolationStatus": (1_000_000, 2_500_000_000),
}
_WIDE = ("nvmlDeviceGetCurrentClocks", "nvmlDeviceGetTotalEccErrors")


class StandInNvml:
    """The library. gpus: what each answers to a function; a negative number is the code that it fails with."""

    def __init__(self, *gpus: Mapping[str, Any], init_code: int = 0) -> None:
        self.gpus = [dict(gpu) for gpu in gpus]
        self.init_code = init_code
        self.opened = 0
        self.unknown: set[str] = set()  # functions that this release of the library does not have
        self._functions: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in ARGUMENTS or name in self.unknown:
            raise AttributeError(name)
        if name not in self._functions:
            special = {"nvmlInit_v2": self._init, "nvmlShutdown": self._shutdown}
            special |= {"nvmlDeviceGetCount_v2": self._count, "nvmlDeviceGetHandleByIndex_v2": self._handle}
            kind = ctypes.CFUNCTYPE(ctypes.c_int, *ARGUMENTS[name])
            self._functions[name] = kind(special.get(name) or self._asked(name))
        return self._functions[name]

    def _init(self) -> int:
        self.opened += self.init_code == 0
        return self.init_code

    def _shutdown(self) -> int:
        self.opened -= 1
        return 0

    def _count(self, out: int) -> int:
        ctypes.c_uint.from_address(out).value = len(self.gpus)
        return 0

    def _handle(self, index: int, out: int) -> int:
        ctypes.c_void_p.from_address(out).value = index + 1
        return int(self.gpus[index].get("lost", 0))

    def _asked(self, name: str) -> Any:
        def answer(handle: int, *arguments: int) -> int:
            value = self.gpus[handle - 1].get(name, -NOT_SUPPORTED)
            if isinstance(value, int) and value < 0:
                return -value
            _put(name, value, arguments)
            return 0

        return answer


def _put(name: str, value: Any, arguments: tuple[int, ...]) -> None:
    match value:
        case str():
            address, size = arguments
            ctypes.memmove(address, value.encode()[: size - 1] + b"\0", min(len(value), size - 1) + 1)
        case tuple():
            kind = ctypes.c_uint if name == "nvmlDeviceGetUtilizationRates" else ctypes.c_ulonglong
            (kind * len(value)).from_address(arguments[-1])[:] = list(value)
        case _:
            wide = name.startswith(_WIDE)
            (ctypes.c_ulonglong if wide else ctypes.c_uint).from_address(arguments[-1]).value = value
