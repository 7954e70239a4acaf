"""Runs an ONNX Runtime session that computes with CUDA. Does not import onnxruntime: it gets its objects.

Inputs are joined in page-locked memory of the instance and bound there, so that the copy to the GPU is one transfer.
Outputs are left to ONNX Runtime: a page-locked buffer for them would have to be copied once more, because the answers
belong to the clients while the next batch is computed.

Ownership: one thread, one instance, one session, which brings its own CUDA stream.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from appliance.backends.base import Array
from appliance.backends.cuda.buffer_plan import plan_buffer
from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.memory import PinnedBuffer
from appliance.backends.onnx_reasons import is_lack_of_memory
from appliance.backends.row_joining import Parts, Shape, joined_shapes, write_joined
from appliance.model.datatype import Datatype
from appliance.model.signature import ModelSignature
from appliance.model.tensor import element_count

_UNBOUND = (Datatype.BYTES, Datatype.BF16)  # not plain NumPy memory


class CudaSessionInstance:
    """One session with its input buffer."""

    def __init__(
        self,
        session: Any,
        signature: ModelSignature,
        context: DeviceContext,
        frugal_options: Callable[[], Any],
        explain: Callable[[Exception], Exception],
    ) -> None:
        """frugal_options: makes RunOptions that give cached GPU memory back. explain: makes an error of ours."""
        self._session = session
        self._datatypes = {tensor.name: tensor.datatype for tensor in signature.inputs}
        self._context = context
        self._frugal_options = frugal_options
        self._explain = explain
        self._pinned: PinnedBuffer | None = None
        self._short_of_memory = False

    @staticmethod
    def takes(signature: ModelSignature) -> bool:
        """Whether all tensors are plain memory that can be bound."""
        return all(tensor.datatype not in _UNBOUND for tensor in (*signature.inputs, *signature.outputs))

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Compute one request."""
        return self.execute_joined([inputs], outputs)

    def execute_joined(self, parts: Parts, outputs: Sequence[str]) -> list[Array]:
        """Compute the rows of all parts in one execution. Raises InvalidInput or Failed.

        After one that failed for lack of GPU memory, the next gives back what ONNX Runtime keeps for later.
        """
        datatypes = {name: self._datatypes[name] for name in parts[0] if name in self._datatypes}
        shapes = joined_shapes(parts, datatypes)
        try:
            binding = self._bind(parts, shapes, outputs)
            options = self._frugal_options() if self._short_of_memory else None
            self._session.run_with_iobinding(binding, options)
            answers: list[Array] = binding.copy_outputs_to_cpu()
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            self._short_of_memory = is_lack_of_memory(error)
            raise self._explain(error) from error
        self._short_of_memory = False
        return answers

    def close(self) -> None:
        """Give session and buffer back."""
        self._session = None
        pinned, self._pinned = self._pinned, None
        if pinned is not None:
            with self._context.current():
                pinned.close()

    def _bind(self, parts: Parts, shapes: Mapping[str, Shape], outputs: Sequence[str]) -> Any:
        # A new one for each execution: an old binding would compute into the arrays that it handed out before.
        binding = self._session.io_binding()
        plan = plan_buffer({name: self._bytes(name, shape) for name, shape in shapes.items()})
        pinned = self._reserve(plan.total_bytes)
        for name, shape in shapes.items():
            dtype, offset = self._datatypes[name].numpy, plan.offsets[name]
            write_joined([part[name] for part in parts], pinned.array(dtype, shape, offset))
            binding.bind_input(name, "cpu", 0, dtype.type, shape, pinned.address + offset)
        for name in outputs:
            binding.bind_output(name, "cpu")
        return binding

    def _bytes(self, name: str, shape: Shape) -> int:
        return element_count(shape) * self._datatypes[name].size_bytes

    def _reserve(self, size_bytes: int) -> PinnedBuffer:
        if self._pinned is None or self._pinned.size_bytes < size_bytes:
            with self._context.current():
                previous, self._pinned = self._pinned, None
                if previous is not None:
                    previous.close()
                self._pinned = PinnedBuffer(self._context.driver, size_bytes)
        return self._pinned
