"""Executions of one form, recorded as CUDA graphs: one launch instead of one per kernel.

A graph is only valid while the execution context that it was recorded from stays as it was, so each recording has a
context of its own, whose activations share one buffer: all of them run in order on one stream. What a recording
computes is compared with the plain execution before it is used: it gives the same bytes or is not kept.

Ownership: one instance, one thread.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from appliance.backends.base import Array
from appliance.backends.cuda.error import CudaError
from appliance.backends.cuda.graph import Graph
from appliance.backends.cuda.memory import DeviceBuffer
from appliance.backends.cuda.stream import Stream
from appliance.backends.tensorrt.bound_context import BoundContext
from appliance.backends.tensorrt.device_engine import DeviceEngine
from appliance.backends.tensorrt.engine_layout import Shape
from appliance.backends.tensorrt.shape_sightings import ShapeSightings
from appliance.backends.tensorrt.tensor_buffers import TensorBuffers
from appliance.errors import Failed

logger = logging.getLogger(__name__)

SIGHTINGS = 32  # plain executions of a form before it is recorded
_KEPT = 8  # recordings of one instance


@dataclass(frozen=True, slots=True)
class Form:
    """What makes executions alike: everything but the data."""

    profile: int
    inputs: tuple[tuple[str, Shape], ...]
    outputs: tuple[str, ...]


class Recording:
    """One form, recorded."""

    def __init__(
        self,
        engine: DeviceEngine,
        stream: Stream,
        buffers: tuple[TensorBuffers, TensorBuffers],
        activations: DeviceBuffer,
        form: Form,
    ) -> None:
        """Record it; the inputs of such an execution are in place, and it is executed once."""
        inputs, outputs = buffers
        shapes = dict(form.inputs)
        handle = engine.new_context_in(activations.address, activations.size_bytes)
        context = BoundContext(handle, engine.layout, stream, engine.log)
        with ExitStack() as resources:
            resources.callback(context.close)
            context.set_addresses({tensor.name: inputs.address(tensor.name) for tensor in engine.layout.inputs})
            context.set_addresses({tensor.name: outputs.address(tensor.name) for tensor in engine.layout.outputs})
            found = context.bind(form.profile, shapes)
            self.shapes: Mapping[str, Shape] = {name: found[name] for name in form.outputs}

            def queue_work() -> None:
                inputs.queue_upload(stream, shapes)
                context.enqueue()
                outputs.queue_download(stream, self.shapes)

            queue_work()  # what TensorRT puts off until the first execution must not be recorded
            stream.synchronize()
            if not context.can_be_recorded():
                raise Failed("TensorRT says that this model cannot be recorded")
            self._graph = resources.enter_context(Graph(engine.context.driver, stream, queue_work))
            self._resources = resources.pop_all()

    def launch(self) -> None:
        """Queue the whole execution, copies included."""
        self._graph.launch()

    def close(self) -> None:
        """Give graph and context back; harmless when done twice."""
        self._resources.close()


class GraphRecordings:
    """The recordings of one instance, the least recently used given up first."""

    def __init__(self, engine: DeviceEngine, stream: Stream, inputs: TensorBuffers, outputs: TensorBuffers) -> None:
        self._engine = engine
        self._stream = stream
        self._buffers = inputs, outputs
        self._kept: OrderedDict[Form, Recording] = OrderedDict()
        self._sightings = ShapeSightings(SIGHTINGS)
        self._activations: DeviceBuffer | None = None
        self._switched_off = not engine.records_graphs or engine.layout.has_host_inputs

    @property
    def count(self) -> int:
        """Recordings that are in use."""
        return len(self._kept)

    def find(self, form: Form) -> Recording | None:
        """Return the recording of a form, if there is one."""
        found = self._kept.get(form)
        if found is not None:
            self._kept.move_to_end(form)
        return found

    def consider(self, form: Form, answers: Mapping[str, Array]) -> None:
        """Take note of a plain execution with its answers, and record its form if it comes often.

        Its inputs are still in the buffers; the outputs there are overwritten. If recording fails, all recordings of
        this instance are given up, and it goes on plainly.
        """
        if self._switched_off or not self._sightings.often_enough(form):
            return
        try:
            self._record(form, answers)
        except Failed as error:
            if isinstance(error, CudaError) and error.device_lost:
                raise
            self._switched_off = True
            self._stream.synchronize()
            self.clear()
            logger.warning("CUDA graphs are switched off for this instance: %s", error.message)

    def clear(self) -> None:
        """Give everything back; nothing of it may be running."""
        while self._kept:
            self._kept.popitem()[1].close()
        activations, self._activations = self._activations, None
        if activations is not None:
            activations.close()

    def _record(self, form: Form, answers: Mapping[str, Array]) -> None:
        if len(self._kept) >= _KEPT:
            self._kept.popitem(last=False)[1].close()
        if self._activations is None:
            self._activations = DeviceBuffer(self._engine.context.driver, self._engine.activation_bytes)
        recording = Recording(self._engine, self._stream, self._buffers, self._activations, form)
        self._kept[form] = recording
        recording.launch()
        self._stream.synchronize()
        _, outputs = self._buffers
        for name, expected in answers.items():
            found = outputs.host_array(name, recording.shapes[name])
            if not np.array_equal(_bits(found), _bits(expected)):  # not a number equals itself only as bits
                raise Failed(f"output '{name}' of the recorded execution differs from the plain one")


def _bits(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
