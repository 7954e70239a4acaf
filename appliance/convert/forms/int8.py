"""The INT8 forms of a graph: dynamic and static for the CPU, static for TensorRT.

They need different operators. In plain networks of convolutions or dense layers whole chains stay in INT8 on the CPU.
Where there is attention, normalisation or an activation made of many small operators, only products with weights are
quantised: everything between them loses too much. TensorRT wants products alone and fuses the rest itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from appliance.convert.forms.calibration import find_ranges
from appliance.convert.forms.finished_graph import write_finished
from appliance.convert.forms.onnxruntime_tools import (
    Ranges,
    quantise_dynamic,
    quantise_for_cpu,
    quantise_for_tensorrt,
    write_optimised,
)
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Sample

_PRODUCTS = ("Conv", "Gemm", "MatMul")
_CHAIN = (
    *_PRODUCTS,
    *("Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Mul"),
    *("Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Split", "Squeeze", "Transpose", "Unsqueeze"),
)
_TENSORRT = (*_PRODUCTS, "ConvTranspose")
_DYNAMIC = ("Gather", "LSTM", "MatMul")  # a convolution with scales found anew in each run is slower than FP32
# Attention, normalisation, and GELU written as several operators: INT8 between them destroyed what magika computes.
_DELICATE = {
    "Erf",
    "Gelu",
    "InstanceNormalization",
    "LayerNormalization",
    "Pow",
    "ReduceMean",
    "Softmax",
    "Sqrt",
    "Tanh",
}
_QUANTISED = {"DequantizeLinear", "DynamicQuantizeLSTM", "MatMulInteger"}


@dataclass(frozen=True, slots=True)
class CalibratedGraph:
    """An optimised graph in a scratch folder, and the range of each of its tensors."""

    file: Path
    ranges: Ranges


def calibrate(source: Path, samples: Sequence[Sample], scratch: Path) -> CalibratedGraph:
    """Prepare static INT8. Raises ConversionRefused."""
    optimised = write_optimised(source, scratch)
    return CalibratedGraph(optimised, find_ranges(optimised, samples, {*_CHAIN, *_TENSORRT}, scratch))


def write_int8_dynamic(source: Path, target: Path, scratch: Path) -> None:
    """Write the form that needs no calibration data. Raises ConversionRefused."""
    made = scratch / "dynamic.onnx"
    quantise_dynamic(write_optimised(source, scratch), made, operators=_DYNAMIC)
    _finish(made, target)


def write_int8_cpu(calibrated: CalibratedGraph, target: Path) -> None:
    """Write the static form for the CPU. Raises ConversionRefused."""
    made = calibrated.file.with_name("cpu.onnx")
    chained = not _is_delicate(calibrated.file)
    operators = _CHAIN if chained else _PRODUCTS
    quantise_for_cpu(calibrated.file, made, calibrated.ranges, operators=operators, chained=chained)
    _finish(made, target)


def write_int8_tensorrt(calibrated: CalibratedGraph, target: Path) -> None:
    """Write the static form for TensorRT. Raises ConversionRefused."""
    made = calibrated.file.with_name("tensorrt.onnx")
    quantise_for_tensorrt(calibrated.file, made, calibrated.ranges, operators=_TENSORRT)
    _finish(made, target)


def _is_delicate(file: Path) -> bool:
    """Whether INT8 would pass through delicate operators; a softmax as the last step is none."""
    graph = onnx.load(file, load_external_data=False).graph
    results = {output.name for output in graph.output}
    return any(node.op_type in _DELICATE and results.isdisjoint(node.output) for node in graph.node)


def _finish(made: Path, target: Path) -> None:
    model = onnx.load(made)
    if not any(node.op_type in _QUANTISED for node in model.graph.node):
        raise ConversionRefused(
            Reason.EXPORT_FAILED,
            "there is nothing to quantise: found no product with weights in the graph, expected at least 1",
            hint="convert without it: --precision fp32",
        )
    write_finished(model, target)
