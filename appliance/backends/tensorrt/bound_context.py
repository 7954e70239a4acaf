"""An execution context with its tensors bound: profile, shapes and addresses.

TensorRT keeps the addresses that it was given, so the buffers behind them outlive this. Ownership: one instance, one
thread, one stream; profile changes and executions are ordered by that stream.
"""

from collections.abc import Mapping
from typing import Any

from appliance.backends.cuda.stream import Stream
from appliance.backends.tensorrt.engine_layout import EngineLayout, Shape
from appliance.backends.tensorrt.engine_log import EngineLog
from appliance.backends.tensorrt.tensor_sizes import changed
from appliance.errors import Failed, InvalidInput


class BoundContext:
    """Wraps one IExecutionContext."""

    def __init__(self, handle: Any, layout: EngineLayout, stream: Stream, log: EngineLog) -> None:
        self._handle = handle
        self._layout = layout
        self._stream = stream
        self._log = log
        self._profile = -1
        self._bound: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._outputs: dict[str, Shape] = {}

    def set_addresses(self, addresses: Mapping[str, int]) -> None:
        """Say where inputs and outputs lie; outputs with an allocator are left out."""
        for name, address in addresses.items():
            if not self._handle.set_tensor_address(name, address):
                raise self._log.failure(f"TensorRT refuses the address of '{name}'")
        self._addresses.update(addresses)

    def set_allocator(self, name: str, allocator: Any) -> None:
        """Let an output's memory be asked for during the execution."""
        if not self._handle.set_output_allocator(name, allocator):
            raise self._log.failure(f"TensorRT refuses an allocator for '{name}'")

    def bind(self, profile: int, shapes: Mapping[str, Shape]) -> Mapping[str, Shape]:
        """Set profile and input shapes; return the outputs' shapes, -1 where only the data decide.

        Values of inputs on the host must be in place. Raises InvalidInput if the shapes do not go together.
        """
        self._log.clear()
        if profile == self._profile and not changed(shapes, self._bound) and not self._layout.has_host_inputs:
            return self._outputs
        self._set_profile(profile)
        self._set_shapes(shapes)
        self._outputs = self._infer()
        return self._outputs

    def largest_output(self, name: str) -> int:
        """Upper bound of an output's bytes for what is bound; -1 if there is none."""
        return int(self._handle.get_max_output_size(name))

    def can_be_recorded(self) -> bool:
        """Whether an execution of what is bound may become part of a graph."""
        if not hasattr(self._handle, "is_stream_capturable"):
            return True  # older versions: recording itself fails where it is impossible
        return bool(self._handle.is_stream_capturable(self._stream.handle))

    def enqueue(self) -> None:
        """Queue one execution. Raises Failed with TensorRT's reason."""
        if not self._handle.execute_async_v3(self._stream.handle):
            raise self._log.failure("TensorRT failed to execute the model")

    def close(self) -> None:
        """Let go of the context; nothing of it may be running."""
        self._handle = None

    def _set_profile(self, profile: int) -> None:
        if profile == self._profile:
            return
        self._bound.clear()  # a change of profile forgets all shapes
        self._profile = -1
        if not self._handle.set_optimization_profile_async(profile, self._stream.handle):
            raise self._log.failure(f"TensorRT cannot switch to optimisation profile {profile}")
        self._profile = profile
        self.set_addresses(self._addresses)

    def _set_shapes(self, shapes: Mapping[str, Shape]) -> None:
        free = {tensor.name: shapes[tensor.name] for tensor in self._layout.inputs if not tensor.fixed}
        for name in changed(free, self._bound):
            self._bound.pop(name, None)
            if not self._handle.set_input_shape(name, free[name]):
                raise self._refusal(shapes)
        self._bound.update(shapes)

    def _infer(self) -> dict[str, Shape]:
        try:
            missing = self._handle.infer_shapes()
        except RuntimeError as error:
            shapes = dict(self._bound)
            self._bound.clear()
            raise self._refusal(shapes) from error
        if missing:
            self._bound.clear()
            raise Failed(f"TensorRT knows too little about {', '.join(missing)} to compute the shapes of the outputs")
        return {tensor.name: tuple(self._handle.get_tensor_shape(tensor.name)) for tensor in self._layout.outputs}

    def _refusal(self, shapes: Mapping[str, Shape]) -> InvalidInput:
        found = ", ".join(f"'{name}' {list(shape)}" for name, shape in shapes.items())
        reason = self._log.failure("").message.removeprefix(": ")
        return InvalidInput(f"the model refuses inputs of these shapes: {found}: {reason}")
