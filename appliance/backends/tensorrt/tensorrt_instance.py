"""One executable copy of an engine: an execution context, a stream and the buffers between them.

Ownership: one thread, on which the GPU's context is current for as long as the instance lives. Everything is
allocated when the instance is made. Streams of several instances overlap: one copies while another computes.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from appliance.backends.base import Array
from appliance.backends.cuda.error import CudaError
from appliance.backends.cuda.stream import Stream
from appliance.backends.row_joining import Parts, joined_shapes
from appliance.backends.tensorrt.bound_context import BoundContext
from appliance.backends.tensorrt.device_engine import DeviceEngine
from appliance.backends.tensorrt.engine_layout import EngineProfile, Shape
from appliance.backends.tensorrt.graph_recordings import Form, GraphRecordings
from appliance.backends.tensorrt.growing_output import GrowingOutput, output_allocator
from appliance.backends.tensorrt.profile_choice import check_values, choose_profile
from appliance.backends.tensorrt.tensor_buffers import TensorBuffers
from appliance.backends.tensorrt.tensor_sizes import input_bytes, tensor_bytes
from appliance.errors import Failed, InvalidInput

logger = logging.getLogger(__name__)


class TensorRtInstance:
    """Computes batches on one GPU."""

    def __init__(self, engine: DeviceEngine) -> None:
        """Allocate everything. Raises Failed (out of GPU memory, most likely); then nothing is left behind."""
        self._engine = engine
        self._layout = engine.layout
        self._datatypes = {tensor.name: tensor.datatype for tensor in engine.layout.inputs}
        self._host_inputs = [tensor.name for tensor in engine.layout.inputs if tensor.on_host]
        driver = engine.context.driver
        engine.context.enter_thread()
        with ExitStack() as resources:
            resources.callback(engine.context.leave_thread)
            self._stream = resources.enter_context(Stream(driver))
            self._context = BoundContext(engine.new_context(), self._layout, self._stream, engine.log)
            resources.callback(self._context.close)
            self._inputs = TensorBuffers(driver, self._layout.inputs, input_bytes(self._layout))
            resources.callback(self._inputs.close)
            self._context.set_addresses({name: self._inputs.address(name) for name in input_bytes(self._layout)})
            sizes = self._measure_outputs()
            self._growing = {
                tensor.name: GrowingOutput(driver, tensor)
                for tensor in self._layout.outputs
                if tensor.name not in sizes
            }
            self._outputs = TensorBuffers(
                driver, [tensor for tensor in self._layout.outputs if tensor.name in sizes], sizes
            )
            resources.callback(self._outputs.close)
            self._sizes = sizes
            self._place_outputs()
            self._recordings = GraphRecordings(engine, self._stream, self._inputs, self._outputs)
            self._stream.synchronize()
            self._resources = resources.pop_all()

    @property
    def recordings(self) -> int:
        """CUDA graphs in use."""
        return self._recordings.count

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Compute one request."""
        return self.execute_joined([inputs], outputs)

    def execute_joined(self, parts: Parts, outputs: Sequence[str]) -> list[Array]:
        """Compute the rows of all parts in one execution; they are joined in the page-locked buffer.

        Raises InvalidInput with the allowed range for shapes outside of every profile, Failed for everything else;
        a failed execution gives back what it had taken, and the next one starts afresh.
        """
        self._check_outputs(outputs)
        shapes = joined_shapes(parts, self._datatypes, without_rows=self._host_inputs)
        form = Form(choose_profile(self._layout.profiles, shapes), tuple(shapes.items()), tuple(outputs))
        self._check_values(self._layout.profiles[form.profile], parts)
        self._inputs.write(parts, shapes)
        try:
            return self._compute(form, shapes)
        except Failed as error:
            error.device_lost = self._recover() or error.device_lost
            raise

    def close(self) -> None:
        """Give everything back, once what runs has ended."""
        try:
            self._stream.synchronize()
            self._recordings.clear()
            self._shrink()
        except CudaError as error:
            logger.warning("an instance could not be closed in order: %s", error)
        try:
            self._resources.close()
        except CudaError as error:  # the context is lost: there is nothing left to give back
            logger.warning("an instance could not be closed in order: %s", error)

    def _compute(self, form: Form, shapes: Mapping[str, Shape]) -> list[Array]:
        recording = self._recordings.find(form)
        if recording is not None:
            recording.launch()
            self._stream.synchronize()
            return [self._answer(name, recording.shapes[name]) for name in form.outputs]
        found = self._run(form, shapes)
        answers = [self._answer(name, found[name]) for name in form.outputs]
        if not self._growing:
            self._recordings.consider(form, dict(zip(form.outputs, answers, strict=True)))
        return answers

    def _run(self, form: Form, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """Execute plainly and wait; return the shapes of the wanted outputs."""
        bound = self._context.bind(form.profile, shapes)
        self._check_sizes(bound)
        for output in self._growing.values():
            output.begin()
        self._inputs.queue_upload(self._stream, shapes)
        self._enqueue()
        found = {name: self._growing[name].shape if name in self._growing else bound[name] for name in form.outputs}
        self._outputs.queue_download(self._stream, {name: found[name] for name in found if name in self._sizes})
        for name in form.outputs:
            if name in self._growing:
                self._growing[name].queue_download(self._stream)
        self._stream.synchronize()
        return found

    def _enqueue(self) -> None:
        try:
            self._context.enqueue()
        except Failed as error:
            for output in self._growing.values():
                if output.error is not None:
                    raise output.error from error
            raise

    def _answer(self, name: str, shape: Shape) -> Array:
        # A copy, because the buffer belongs to the next batch while this answer is on its way to the client.
        if name in self._growing:
            return self._growing[name].host_array().copy()
        return self._outputs.host_array(name, shape).copy()

    def _check_outputs(self, wanted: Sequence[str]) -> None:
        for name in wanted:
            if name not in self._sizes and name not in self._growing:
                raise InvalidInput(
                    f"output '{name}' is unknown, the engine has {sorted(self._sizes | self._growing)}"
                )

    def _check_values(self, profile: EngineProfile, parts: Parts) -> None:
        if profile.values:
            check_values(profile, {name: parts[0][name].reshape(-1).tolist() for name in profile.values})

    def _check_sizes(self, shapes: Mapping[str, Shape]) -> None:
        """TensorRT must not write past the end of a buffer, whatever it said the largest output would be."""
        for tensor in self._layout.outputs:
            needed = tensor_bytes(tensor, shapes[tensor.name])
            if tensor.name in self._sizes and not 0 <= needed <= self._sizes[tensor.name]:
                raise Failed(
                    f"output '{tensor.name}' of shape {list(shapes[tensor.name])} needs {needed} bytes, "
                    f"expected at most {self._sizes[tensor.name]}"
                )

    def _measure_outputs(self) -> dict[str, int]:
        """Return the largest size of each output, in bytes; those that depend on the data are left out."""
        sizes: dict[str, int] = {}
        dependent: set[str] = set()
        for index, profile in enumerate(self._layout.profiles):
            for name, allowed in profile.values.items():
                tensor = self._inputs.host_array(name, profile.shapes[name].max)
                tensor.reshape(-1)[:] = allowed.max
            found = self._context.bind(index, {name: allowed.max for name, allowed in profile.shapes.items()})
            for tensor_layout in self._layout.outputs:
                name, shape = tensor_layout.name, found[tensor_layout.name]
                if min(shape, default=0) < 0:
                    dependent.add(name)
                    continue
                largest = max(self._context.largest_output(name), tensor_bytes(tensor_layout, shape))
                sizes[name] = max(sizes.get(name, 0), largest)
        return {name: size for name, size in sizes.items() if name not in dependent}

    def _place_outputs(self) -> None:
        self._context.set_addresses({name: self._outputs.address(name) for name in self._sizes})
        for name, output in self._growing.items():
            self._context.set_allocator(name, output_allocator(self._engine.trt, output))

    def _recover(self) -> bool:
        """Wait for what still runs and give back what can be taken again; say whether the GPU is lost."""
        try:
            self._stream.synchronize()
            self._recordings.clear()
            self._shrink()
        except CudaError as error:  # the failure itself is on its way to the caller
            return error.device_lost
        return False

    def _shrink(self) -> None:
        for output in self._growing.values():
            output.shrink()
