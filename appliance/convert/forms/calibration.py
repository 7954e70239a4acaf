"""Which values the tensors of a graph take on real inputs: what static INT8 scales are made from.

Invariants: one thread, samples in their order, so the same samples give the same ranges; memory holds one run at a
time, because every tensor is reduced to its smallest and largest value inside the graph.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from appliance.backends.onnxruntime import open_session
from appliance.convert.forms.onnxruntime_tools import Ranges
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array, Sample
from appliance.convert.sources.graph_file import write_graph

_REDUCTIONS = ("ReduceMin", "ReduceMax")
_BASIC = -1  # graph level: fewer fusions, quicker to open


def find_ranges(optimised: Path, samples: Sequence[Sample], operators: Collection[str], scratch: Path) -> Ranges:
    """Return smallest and largest value of every float tensor at these operators. Raises ConversionRefused."""
    if not samples:
        raise ConversionRefused(
            Reason.SAMPLES,
            "static INT8 needs calibration data: found no sample, expected at least 1, better 100",
            hint="bring inputs like those in use: --calibration DIR",
        )
    model = onnx.load(optimised)
    tensors = _float_tensors(model.graph, operators)
    if not tensors:
        return {}
    _add_reductions(model.graph, tensors)
    observed = scratch / "observed.onnx"
    write_graph(model, observed)
    session = open_session(observed, graph_level=_BASIC)
    lowest, highest = _observe(session, samples, tensors)
    return {name: (lowest[index], highest[index]) for index, name in enumerate(tensors)}


def _float_tensors(graph: onnx.GraphProto, operators: Collection[str]) -> list[str]:
    constants = {tensor.name for tensor in graph.initializer}
    floats = {
        value.name
        for value in (*graph.value_info, *graph.input, *graph.output)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in constants
    }
    seen = (name for node in graph.node if node.op_type in operators for name in (*node.input, *node.output))
    return [name for name in dict.fromkeys(seen) if name in floats]


def _add_reductions(graph: onnx.GraphProto, tensors: Sequence[str]) -> None:
    """Make the ranges the only outputs, so that nothing large leaves a run."""
    del graph.output[:]
    for operator in _REDUCTIONS:
        for index, name in enumerate(tensors):
            output = f"{operator}.{index}"
            graph.node.append(onnx.helper.make_node(operator, [name], [output], keepdims=0))
            graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, []))


def _observe(session: Any, samples: Sequence[Sample], tensors: Sequence[str]) -> tuple[Array, Array]:
    lowest = np.full(len(tensors), np.inf, dtype=np.float32)
    highest = -lowest
    for sample in samples:
        found = np.array(session.run(None, sample.inputs), dtype=np.float32)
        lowest = np.minimum(lowest, found[: len(tensors)])
        highest = np.maximum(highest, found[len(tensors) :])
    for name, low, high in zip(tensors, lowest, highest, strict=True):
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ConversionRefused(
                Reason.SAMPLES,
                f"tensor '{name}' goes from {low:g} to {high:g} on the calibration data, expected finite values",
                hint="look for broken inputs in the folder given with --calibration",
            )
    return lowest, highest
