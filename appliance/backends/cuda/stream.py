"""A queue of GPU work, and points in it."""

import ctypes
from typing import Self

from appliance.backends.cuda.driver import Driver

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for work on the default stream, nor it for ours


class Stream:
    """Work in order; streams among each other overlap. One thread uses one stream."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        handle = ctypes.c_void_p()
        driver.call("cuStreamCreate", ctypes.byref(handle), _NON_BLOCKING)
        assert handle.value is not None
        self.handle = handle.value
        self._open = True

    def upload(self, device_address: int, host_address: int, size_bytes: int) -> None:
        """Queue a copy to the GPU; asynchronous if the host memory is page-locked."""
        if size_bytes:  # CUDA accepts none, but an empty tensor has nothing to copy
            self._driver.call("cuMemcpyHtoDAsync_v2", device_address, host_address, size_bytes, self.handle)

    def download(self, host_address: int, device_address: int, size_bytes: int) -> None:
        """Queue a copy from the GPU; asynchronous if the host memory is page-locked."""
        if size_bytes:
            self._driver.call("cuMemcpyDtoHAsync_v2", host_address, device_address, size_bytes, self.handle)

    def synchronize(self) -> None:
        """Wait until everything is done. Raises what any of it failed with."""
        self._driver.call("cuStreamSynchronize", self.handle)

    def close(self) -> None:
        """Destroy it, once its work is done; harmless when done twice."""
        if self._open:
            self._open = False
            self._driver.call("cuStreamDestroy_v2", self.handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Event:
    """A point in a stream, with its time."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        handle = ctypes.c_void_p()
        driver.call("cuEventCreate", ctypes.byref(handle), 0)
        assert handle.value is not None
        self._handle = handle.value
        self._open = True

    def record(self, stream: Stream) -> None:
        """Mark the end of what is queued in the stream now."""
        self._driver.call("cuEventRecord", self._handle, stream.handle)

    def synchronize(self) -> None:
        """Wait until the marked point is reached."""
        self._driver.call("cuEventSynchronize", self._handle)

    def milliseconds_since(self, earlier: "Event") -> float:
        """Time on the GPU between two points, both of them reached."""
        elapsed_ms = ctypes.c_float()
        self._driver.call("cuEventElapsedTime", ctypes.byref(elapsed_ms), earlier._handle, self._handle)  # noqa: SLF001
        return elapsed_ms.value

    def close(self) -> None:
        """Destroy it; harmless when done twice."""
        if self._open:
            self._open = False
            self._driver.call("cuEventDestroy_v2", self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
