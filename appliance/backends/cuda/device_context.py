"""The CUDA context of one GPU: what every call needs to be current on its thread.

It is the device's primary context, the one that TensorRT and ONNX Runtime use as well, so memory and streams can be
handed to them. Ownership: whoever opens it closes it; buffers, streams and engines on it are closed before.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.backends.cuda.driver import Driver
from appliance.backends.cuda.gpu import Gpu


class DeviceContext:
    """Keeps a GPU's primary context alive until `close`."""

    def __init__(self, driver: Driver, gpu: Gpu) -> None:
        """Raises CudaError if the GPU cannot be used, CudaOutOfMemory if the context itself does not fit."""
        self.driver = driver
        self.gpu = gpu
        handle = ctypes.c_void_p()
        driver.call("cuDevicePrimaryCtxRetain", ctypes.byref(handle), gpu.handle)
        self._handle: int | None = handle.value

    def enter_thread(self) -> None:
        """Make it current on the calling thread, for threads that work with one GPU for good."""
        self.driver.call("cuCtxSetCurrent", self._handle)

    def leave_thread(self) -> None:
        """Leave the calling thread without a context."""
        self.driver.call("cuCtxSetCurrent", None)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make it current inside the `with`, for threads that belong to others."""
        self.driver.call("cuCtxPushCurrent_v2", self._handle)
        try:
            yield
        finally:
            self.driver.call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def close(self) -> None:
        """Give the context back; harmless when done twice."""
        if self._handle is not None:
            self._handle = None
            self.driver.call("cuDevicePrimaryCtxRelease_v2", self.gpu.handle)
