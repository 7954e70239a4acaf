"""The memory that one instance computes in: each tensor once on the host (page-locked) and once on the GPU.

Allocated once, for the largest shapes of all profiles. Ownership: one instance, one thread. Tensors on the host
(TensorRT reads or writes shapes there) have no place on the GPU.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from appliance.backends.base import Array
from appliance.backends.cuda.buffer_plan import plan_buffer
from appliance.backends.cuda.driver import Driver
from appliance.backends.cuda.memory import DeviceBuffer, PinnedBuffer
from appliance.backends.cuda.stream import Stream
from appliance.backends.row_joining import Parts, write_joined
from appliance.backends.tensorrt.engine_layout import EngineTensor, Shape
from appliance.backends.tensorrt.tensor_sizes import tensor_bytes


class TensorBuffers:
    """Buffers for inputs, or for outputs, of one instance."""

    def __init__(self, driver: Driver, tensors: Sequence[EngineTensor], sizes: Mapping[str, int]) -> None:
        """sizes: bytes of each tensor at its largest. Raises CudaOutOfMemory; then nothing is left behind."""
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._host_plan = plan_buffer(sizes)
        self._device_plan = plan_buffer({name: sizes[name] for name in sizes if not self._tensors[name].on_host})
        with ExitStack() as resources:
            self._host = resources.enter_context(PinnedBuffer(driver, self._host_plan.total_bytes))
            self._device = resources.enter_context(DeviceBuffer(driver, self._device_plan.total_bytes))
            self._resources = resources.pop_all()

    @property
    def device_bytes(self) -> int:
        """GPU memory that they take."""
        return self._device.size_bytes

    def address(self, name: str) -> int:
        """Where TensorRT finds a tensor."""
        if self._tensors[name].on_host:
            return self._host.address + self._host_plan.offsets[name]
        return self._device.address + self._device_plan.offsets[name]

    def host_array(self, name: str, shape: Shape) -> Array:
        """View a tensor on the host; valid until the next execution."""
        tensor = self._tensors[name]
        return self._host.array(tensor.datatype.numpy, shape, self._host_plan.offsets[name])

    def write(self, parts: Parts, shapes: Mapping[str, Shape]) -> None:
        """Join the rows of all parts on the host."""
        for name, shape in shapes.items():
            arrays = [part[name] for part in parts]
            # Values that decide over shapes are the same in all parts and have no rows.
            write_joined(arrays[:1] if self._tensors[name].on_host else arrays, self.host_array(name, shape))

    def queue_upload(self, stream: Stream, shapes: Mapping[str, Shape]) -> None:
        """Queue the copies to the GPU."""
        for name, shape in shapes.items():
            tensor = self._tensors[name]
            if not tensor.on_host:
                host = self._host.address + self._host_plan.offsets[name]
                stream.upload(self.address(name), host, tensor_bytes(tensor, shape))

    def queue_download(self, stream: Stream, shapes: Mapping[str, Shape]) -> None:
        """Queue the copies from the GPU."""
        for name, shape in shapes.items():
            tensor = self._tensors[name]
            if not tensor.on_host:
                host = self._host.address + self._host_plan.offsets[name]
                stream.download(host, self.address(name), tensor_bytes(tensor, shape))

    def close(self) -> None:
        """Free them; harmless when done twice."""
        self._resources.close()
