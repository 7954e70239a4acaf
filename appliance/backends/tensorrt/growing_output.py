"""Memory for an output whose size is known only when it has been computed.

TensorRT asks for memory in the middle of an execution and tells the shape at its end (IOutputAllocator), on the
thread that executes. Ownership: one instance; the memory only grows, until `shrink`.
"""

from typing import Any

from appliance.backends.base import Array
from appliance.backends.cuda.driver import Driver
from appliance.backends.cuda.error import CudaError
from appliance.backends.cuda.memory import DeviceBuffer, PinnedBuffer
from appliance.backends.cuda.stream import Stream
from appliance.backends.tensorrt.engine_layout import EngineTensor, Shape
from appliance.backends.tensorrt.tensor_sizes import tensor_bytes


class GrowingOutput:
    """One output. After an execution `shape` is complete; `error` says why TensorRT got no memory."""

    def __init__(self, driver: Driver, tensor: EngineTensor) -> None:
        self._driver = driver
        self._tensor = tensor
        self._device: DeviceBuffer | None = None
        self._host: PinnedBuffer | None = None
        self.shape: Shape = ()
        self.error: CudaError | None = None

    def begin(self) -> None:
        """Forget the last execution."""
        self.shape, self.error = (), None

    def reserve(self, size_bytes: int) -> int:
        """Return the address of that much GPU memory, 0 if there is none. Never raises: TensorRT calls it."""
        try:
            if self._device is None or self._device.size_bytes < size_bytes:
                self._free_device()
                self._device = DeviceBuffer(self._driver, size_bytes)
        except CudaError as error:
            self.error = error
            return 0
        return self._device.address

    def queue_download(self, stream: Stream) -> None:
        """Queue the copy from the GPU. Raises CudaOutOfMemory if the host has no memory for it."""
        size_bytes = tensor_bytes(self._tensor, self.shape)
        if self._host is None or self._host.size_bytes < size_bytes:
            self._free_host()
            self._host = PinnedBuffer(self._driver, size_bytes)
        if self._device is not None:
            stream.download(self._host.address, self._device.address, size_bytes)

    def host_array(self) -> Array:
        """View the downloaded output; valid until the next execution."""
        assert self._host is not None
        return self._host.array(self._tensor.datatype.numpy, self.shape)

    def shrink(self) -> None:
        """Give the memory back; the next execution takes what it needs."""
        self._free_device()
        self._free_host()

    def _free_device(self) -> None:
        device, self._device = self._device, None
        if device is not None:
            device.close()

    def _free_host(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            host.close()


def output_allocator(trt: Any, output: GrowingOutput) -> Any:
    """Make the IOutputAllocator of an output."""

    class Allocator(trt.IOutputAllocator):  # type: ignore[misc]  # TensorRT is not typed
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)

        def reallocate_output(self, _name: str, _memory: int, size: int, _alignment: int) -> int:
            return output.reserve(size)

        def reallocate_output_async(self, _name: str, _memory: int, size: int, _alignment: int, _stream: int) -> int:
            return output.reserve(size)

        def notify_shape(self, _name: str, shape: Any) -> None:
            output.shape = tuple(shape)

    return Allocator()
