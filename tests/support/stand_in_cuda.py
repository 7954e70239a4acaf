# ruff: noqa: N802  # methods bear the names of the functions that they stand in for
"""A CUDA driver in host memory, behind the real binding: what the driver would refuse, this refuses.

Functions are C functions for ctypes, so arguments travel as they would to libcuda. Work of a stream is done at once,
or recorded. Reads and writes outside of live allocations, calls without a context and double frees are errors.
"""

import ctypes
import threading
import uuid
from collections.abc import Callable
from itertools import count

from appliance.backends.cuda import driver as binding

INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONTEXT, INVALID_HANDLE, CAPTURE_INVALIDATED = 1, 2, 201, 400, 901
NAMES = {
    1: b"CUDA_ERROR_INVALID_VALUE",
    2: b"CUDA_ERROR_OUT_OF_MEMORY",
    100: b"CUDA_ERROR_NO_DEVICE",
    201: b"CUDA_ERROR_INVALID_CONTEXT",
    400: b"CUDA_ERROR_INVALID_HANDLE",
    719: b"CUDA_ERROR_LAUNCH_FAILED",
    901: b"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
}
WITHOUT_CONTEXT = ("cuInit", "cuDriver", "cuGetError", "cuDevice", "cuCtx")
UUIDS = [uuid.UUID(int=0x1234 + number) for number in range(8)]


class StandInCuda:
    """The library. `forced`: function -> code that it returns from now on."""

    def __init__(
        self, gpus: int = 1, total_bytes: int = 1 << 30, integrated: bool = False, mig: bool = False
    ) -> None:
        self.gpus, self.total_bytes, self.integrated, self.mig = gpus, total_bytes, integrated, mig
        self.forced: dict[str, int] = {}
        self.host: dict[int, ctypes.Array] = {}
        self.device: dict[int, ctypes.Array] = {}
        self.handles: dict[int, object] = {}  # streams, events, graphs
        self.recording: dict[int, list[Callable[[], None]]] = {}
        self.retained = 0
        self.launches = 0
        self._numbers = count(0x1000)
        self._current = threading.local()
        for name, arguments in binding._ARGUMENTS.items():
            # Text to be written arrives in a callback as bytes, so the callback takes its address instead.
            raw = [ctypes.c_void_p if each is ctypes.c_char_p else each for each in arguments]
            kind = ctypes.CFUNCTYPE(ctypes.c_int, *raw)
            setattr(self, name, kind(self._checked(name)))

    @property
    def used_bytes(self) -> int:
        return sum(map(len, self.device.values()))

    @property
    def empty(self) -> bool:
        """Whether everything was given back."""
        return not (self.host or self.device or self.handles or self.recording or self.retained)

    def run(self, stream: int, work: Callable[[], None]) -> None:
        """Do work of a stream, now or when its recording is launched."""
        if stream in self.recording:
            self.recording[stream].append(work)
        else:
            work()

    def covers(self, memory: dict[int, ctypes.Array], address: int, size: int) -> bool:
        return any(start <= address and address + size <= start + len(block) for start, block in memory.items())

    def _checked(self, name: str) -> Callable[..., int]:
        function = getattr(self, f"_{name}", None) or getattr(self, f"_{name.removesuffix('_v2')}")

        def call(*arguments) -> int:
            if name in self.forced:
                return self.forced[name]
            if not name.startswith(WITHOUT_CONTEXT) and not getattr(self._current, "stack", [0])[-1]:
                return INVALID_CONTEXT
            return function(*arguments) or 0

        return call

    def _cuInit(self, flags):
        return INVALID_VALUE if flags else 0

    def _cuDriverGetVersion(self, version):
        version[0] = 13000

    def _cuGetErrorName(self, code, text):
        if code not in NAMES:
            return INVALID_VALUE
        text[0] = NAMES[code]
        return 0

    def _cuGetErrorString(self, code, text):
        text[0] = NAMES.get(code, b"?").removeprefix(b"CUDA_ERROR_").replace(b"_", b" ").lower()

    def _cuDeviceGetCount(self, number):
        number[0] = self.gpus

    def _cuDeviceGet(self, handle, ordinal):
        handle[0] = ordinal
        return 0 if ordinal < self.gpus else 101

    def _cuDeviceGetName(self, name, size, handle):
        text = b"Stand-in GPU MIG 1g.10gb" if self.mig else b"Stand-in GPU"
        ctypes.memmove(name, text + b"\0", min(size, len(text) + 1))

    def _cuDeviceGetUuid_v2(self, buffer, handle):
        return self._cuDeviceGetUuid(buffer, handle + 4 * self.mig)

    def _cuDeviceGetUuid(self, buffer, handle):
        number = UUIDS[handle]
        for index, value in enumerate(number.bytes):
            buffer[0][index] = value

    def _cuDeviceTotalMem(self, size, handle):
        size[0] = self.total_bytes

    def _cuDeviceGetAttribute(self, value, attribute, handle):
        value[0] = {18: int(self.integrated), 75: 8, 76: 9}[attribute]

    def _cuDevicePrimaryCtxRetain(self, context, handle):
        self.retained += 1
        context[0] = 0xC0 + handle

    def _cuDevicePrimaryCtxRelease(self, handle):
        self.retained -= 1
        return 0 if self.retained >= 0 else INVALID_CONTEXT

    def _cuCtxSetCurrent(self, context):
        self._current.stack = [*getattr(self._current, "stack", [0])[:-1], context or 0]

    def _cuCtxPushCurrent(self, context):
        self._current.stack = [*getattr(self._current, "stack", [0]), context]

    def _cuCtxPopCurrent(self, context):
        context[0] = self._current.stack.pop()

    def _cuMemGetInfo(self, free, total):
        free[0], total[0] = self.total_bytes - self.used_bytes, self.total_bytes

    def _cuMemAlloc(self, address, size):
        if size == 0:
            return INVALID_VALUE
        if self.used_bytes + size > self.total_bytes:
            return OUT_OF_MEMORY
        address[0] = self._allocate(self.device, size)
        return 0

    def _cuMemFree(self, address):
        return 0 if self.device.pop(address, None) is not None else INVALID_VALUE

    def _cuMemHostAlloc(self, address, size, flags):
        address[0] = self._allocate(self.host, size)

    def _cuMemFreeHost(self, address):
        return 0 if self.host.pop(address, None) is not None else INVALID_VALUE

    def _cuMemcpyHtoDAsync(self, target, source, size, stream):
        return self._copy(self.device, target, self.host, source, size, stream)

    def _cuMemcpyDtoHAsync(self, target, source, size, stream):
        return self._copy(self.host, target, self.device, source, size, stream)

    def _cuStreamCreate(self, stream, flags):
        stream[0] = self._new("stream")

    def _cuStreamDestroy(self, stream):
        return self._drop(stream)

    def _cuStreamSynchronize(self, stream):
        return CAPTURE_INVALIDATED if stream in self.recording else 0

    def _cuStreamBeginCapture(self, stream, mode):
        self.recording[stream] = []

    def _cuStreamEndCapture(self, stream, graph):
        graph[0] = self._new(self.recording.pop(stream))

    def _cuGraphInstantiateWithFlags(self, executable, graph, flags):
        executable[0] = self._new(self.handles[graph])

    def _cuGraphLaunch(self, executable, stream):
        self.launches += 1
        for work in self.handles[executable]:
            work()

    def _cuGraphExecDestroy(self, executable):
        return self._drop(executable)

    def _cuGraphDestroy(self, graph):
        return self._drop(graph)

    def _cuEventCreate(self, event, flags):
        event[0] = self._new("event")

    def _cuEventDestroy(self, event):
        return self._drop(event)

    def _cuEventRecord(self, event, stream):
        return 0

    def _cuEventSynchronize(self, event):
        return 0

    def _cuEventElapsedTime(self, elapsed, earlier, later):
        elapsed[0] = 1.5

    def _copy(self, targets, target, sources, source, size, stream):
        if not (self.covers(targets, target, size) and self.covers(sources, source, size)):
            return INVALID_VALUE
        self.run(stream, lambda: ctypes.memmove(target, source, size))
        return 0

    def _allocate(self, memory, size):
        block = ctypes.create_string_buffer(size)
        ctypes.memset(block, 0xA5, size)
        memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _new(self, what):
        number = next(self._numbers)
        self.handles[number] = what
        return number

    def _drop(self, handle):
        return 0 if self.handles.pop(handle, None) is not None else INVALID_HANDLE
