"""Memory for transfers: page-locked on the host, and on the GPU.

Each buffer is one allocation, made once and given back by `close`. The GPU's context must be current on the calling
thread. NumPy views of a PinnedBuffer are dangling after `close`: they stay inside whoever owns the buffer.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from appliance.backends.cuda.driver import Driver
from appliance.model.tensor import element_count

ALIGNMENT_BYTES = 256  # what cuMemAlloc guarantees, and the most that TensorRT asks of a tensor's address


class PinnedBuffer:
    """Page-locked host memory: the GPU reads and writes it without the CPU, while other work goes on."""

    def __init__(self, driver: Driver, size_bytes: int) -> None:
        """Raises CudaOutOfMemory if that much cannot be locked."""
        self._driver = driver
        self.size_bytes = max(size_bytes, ALIGNMENT_BYTES)  # CUDA has no empty buffers
        handle = ctypes.c_void_p()
        driver.call("cuMemHostAlloc", ctypes.byref(handle), self.size_bytes, 0)
        assert handle.value is not None
        self.address = handle.value
        self._bytes: npt.NDArray[np.uint8] | None = np.ctypeslib.as_array(
            (ctypes.c_ubyte * self.size_bytes).from_address(self.address)
        )

    def array(self, dtype: np.dtype[Any], shape: Sequence[int], offset: int = 0) -> npt.NDArray[Any]:
        """View a part as an array; `offset` in bytes, aligned to the dtype."""
        assert self._bytes is not None
        size_bytes = element_count(shape) * dtype.itemsize
        assert offset + size_bytes <= self.size_bytes
        return self._bytes[offset : offset + size_bytes].view(dtype).reshape(shape)

    def close(self) -> None:
        """Unlock and free it; harmless when done twice."""
        if self._bytes is not None:
            self._bytes = None
            self._driver.call("cuMemFreeHost", self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DeviceBuffer:
    """Memory of the GPU."""

    def __init__(self, driver: Driver, size_bytes: int) -> None:
        """Raises CudaOutOfMemory."""
        self._driver = driver
        self.size_bytes = max(size_bytes, ALIGNMENT_BYTES)
        address = ctypes.c_uint64()
        driver.call("cuMemAlloc_v2", ctypes.byref(address), self.size_bytes)
        self.address = address.value
        self._open = True

    def close(self) -> None:
        """Free it, waiting for whatever still uses it; harmless when done twice."""
        if self._open:
            self._open = False
            self._driver.call("cuMemFree_v2", self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
