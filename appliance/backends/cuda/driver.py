"""The CUDA driver library, called directly: it is there wherever an NVIDIA driver is, no toolkit needed.

Every return code is checked: what is not success is raised as CudaError. The interpreter lock is released in every
call. A Driver holds no GPU; it may be used by any thread and needs no closing.
"""

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from types import MappingProxyType
from typing import Any

from appliance.backends.cuda.error import OUT_OF_MEMORY, CudaError, CudaOutOfMemory
from appliance.errors import Failed

LIBRARY = "libcuda.so.1"
UUID_BYTES = 16
_UuidBuffer = ctypes.c_ubyte * UUID_BYTES

# Symbols as the library exports them: the plain names of some are older forms with 32-bit sizes. All exist since
# CUDA 11.4. CUdevice is an int, CUdeviceptr 64 bits, every other handle a pointer.
_ARGUMENTS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "cuInit": (c_uint,),
        "cuDriverGetVersion": (POINTER(c_int),),
        "cuGetErrorName": (c_int, POINTER(c_char_p)),
        "cuGetErrorString": (c_int, POINTER(c_char_p)),
        "cuDeviceGetCount": (POINTER(c_int),),
        "cuDeviceGet": (POINTER(c_int), c_int),
        "cuDeviceGetName": (c_char_p, c_int, c_int),
        "cuDeviceGetUuid": (POINTER(_UuidBuffer), c_int),
        "cuDeviceGetUuid_v2": (POINTER(_UuidBuffer), c_int),
        "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
        "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
        "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
        "cuDevicePrimaryCtxRelease_v2": (c_int,),
        "cuCtxSetCurrent": (c_void_p,),
        "cuCtxPushCurrent_v2": (c_void_p,),
        "cuCtxPopCurrent_v2": (POINTER(c_void_p),),
        "cuMemGetInfo_v2": (POINTER(c_size_t), POINTER(c_size_t)),
        "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
        "cuMemFree_v2": (c_uint64,),
        "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
        "cuMemFreeHost": (c_void_p,),
        "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
        "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
        "cuStreamCreate": (POINTER(c_void_p), c_uint),
        "cuStreamDestroy_v2": (c_void_p,),
        "cuStreamSynchronize": (c_void_p,),
        "cuStreamBeginCapture_v2": (c_void_p, c_int),
        "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
        "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
        "cuGraphLaunch": (c_void_p, c_void_p),
        "cuGraphExecDestroy": (c_void_p,),
        "cuGraphDestroy": (c_void_p,),
        "cuEventCreate": (POINTER(c_void_p), c_uint),
        "cuEventDestroy_v2": (c_void_p,),
        "cuEventRecord": (c_void_p, c_void_p),
        "cuEventSynchronize": (c_void_p,),
        "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    }
)


# An older form that newer drivers may drop: it tells the board's UUID from that of a slice of it.
_DISPENSABLE = frozenset({"cuDeviceGetUuid"})


class Driver:
    """The functions of one opened library."""

    def __init__(self, library: Any) -> None:
        """library: a ctypes.CDLL. Raises Failed if it lacks a function."""
        self._functions = {
            name: _bound(library, name, arguments)
            for name, arguments in _ARGUMENTS.items()
            if name not in _DISPENSABLE or hasattr(library, name)
        }

    def has(self, name: str) -> bool:
        """Whether the library has a dispensable function."""
        return name in self._functions

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the table. Raises CudaOutOfMemory or another CudaError."""
        code = self._functions[name](*arguments)
        if code:
            raise self._error(name, code)

    @property
    def cuda_version(self) -> str:
        """The newest CUDA that this driver supports, "13.0"."""
        version = c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        return f"{version.value // 1000}.{version.value % 1000 // 10}"

    def _error(self, function: str, code: int) -> CudaError:
        kind = CudaOutOfMemory if code == OUT_OF_MEMORY else CudaError
        name = self._text("cuGetErrorName", code) or f"CUDA error {code}"
        return kind(function, code, name, self._text("cuGetErrorString", code))

    def _text(self, function: str, code: int) -> str:
        text = c_char_p()
        unknown = self._functions[function](code, ctypes.byref(text))
        return "" if unknown or text.value is None else text.value.decode("ascii", "replace")


def open_driver(library: str = LIBRARY) -> Driver:
    """Load the driver library and initialise it. Raises Failed where there is no driver, or none that works."""
    try:
        loaded = ctypes.CDLL(library)
    except OSError as error:
        reason = "it is not installed" if "No such file" in str(error) else str(error)
        raise Failed(
            f"no NVIDIA driver on this machine: {library} cannot be loaded: {reason}",
            hint="install the NVIDIA driver (a Jetson has it in JetPack), reboot, and check: nvidia-smi",
        ) from error
    driver = Driver(loaded)
    driver.call("cuInit", 0)
    return driver


def _bound(library: Any, name: str, arguments: tuple[Any, ...]) -> Any:
    try:
        function = getattr(library, name)
    except AttributeError as error:
        raise Failed(
            f"the NVIDIA driver is too old: it has no {name}, which came with CUDA 11.4",
            hint="install driver 580 or newer (JetPack 7 on a Jetson)",
        ) from error
    function.argtypes, function.restype = arguments, c_int
    return function
