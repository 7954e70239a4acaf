"""ONNX Runtime's tools for other forms of a graph: the only module of this room that imports onnxruntime itself.

Invariants: whatever lies between source and result is written into the scratch folder that is given; nothing runs on
more than one thread, so that sums are made in the same order each time; what the tools raise becomes a refusal.
"""

import logging
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from onnx.external_data_helper import load_external_data_for_model

import appliance.backends.onnxruntime  # first: it switches the telemetry off

# isort: split
import onnxruntime
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.calibrate import TensorsData, save_tensors_data
from onnxruntime.quantization.quant_utils import add_pre_process_metadata
from onnxruntime.transformers.float16 import convert_float_to_float16

from appliance.backends.onnx_reasons import short_reason
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.graph_file import data_file

Ranges = Mapping[str, tuple[Any, Any]]  # tensor -> smallest and largest value that was seen
_BIAS = 2  # its place among the inputs of Gemm
_FIRST_OPSET_WITH_AXES = 13  # of QuantizeLinear and DequantizeLinear: before, one scale for all channels


def to_fp16(source: Path, scratch: Path) -> onnx.ModelProto:
    """Convert weights and computation to FP16; inputs and outputs stay as they are."""
    inferred = scratch / "inferred.onnx"
    with _refusing("FP16", scratch):
        onnx.shape_inference.infer_shapes_path(os.fspath(source), os.fspath(inferred))  # by path: any size
        model = onnx.load(inferred, load_external_data=False)
        load_external_data_for_model(model, os.fspath(source.parent))
        converted: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True, disable_shape_infer=True)
    return converted


def write_optimised(source: Path, scratch: Path) -> Path:
    """Fold constants and batch normalisations and infer shapes, which quantisation needs; return the file."""
    folded, target = scratch / "folded.onnx", scratch / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = appliance.backends.onnxruntime.ERRORS_ONLY
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = os.fspath(folded)
    if data_file(source).exists():
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", data_file(folded).name
        )
    with _refusing("the optimised graph", scratch):
        onnxruntime.InferenceSession(os.fspath(source), options, providers=["CPUExecutionProvider"])
        onnx.shape_inference.infer_shapes_path(os.fspath(folded), os.fspath(target))
        model = onnx.load(target, load_external_data=False)
    _flatten_biases(model.graph)
    add_pre_process_metadata(model)  # else the quantisers advise to do what has just been done
    target.write_bytes(model.SerializeToString(deterministic=True))
    return target


def quantise_dynamic(optimised: Path, target: Path, *, operators: Sequence[str]) -> None:
    """Weights s8; scales of activations are found anew in every run."""
    with _refusing("dynamic INT8", optimised.parent):
        quantize_dynamic(
            optimised,
            target,
            op_types_to_quantize=list(operators),
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


def quantise_for_cpu(
    optimised: Path, target: Path, ranges: Ranges, *, operators: Sequence[str], chained: bool
) -> None:
    """Activations u8, weights s8 for each channel, as pairs of QuantizeLinear and DequantizeLinear.

    chained: results stay INT8 from one operator to the next; else they leave each operator as FP32, and only products
    with weights are quantised.

    Weights use 7 bits: processors without VNNI add pairs of products in 16 bits, which 8 bits could overflow. They
    would then compute something else than the machine that validated the file. It costs next to nothing: MiniLM's
    smallest cosine is 0.975 with 7 bits and 0.977 with 8, in the dynamic form 0.984 and 0.981.
    """
    cache = _write_ranges(ranges, optimised.parent)
    with _refusing("static INT8 for the CPU", optimised.parent):
        quantize_static(
            optimised,
            target,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(operators),
            per_channel=_has_scales_for_channels(optimised),
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibration_cache_path=cache,
            extra_options={
                "MatMulConstBOnly": not chained,
                "OpTypesToExcludeOutputQuantization": [] if chained else ["Gemm", "MatMul"],  # Conv needs both
            },
        )


def quantise_for_tensorrt(optimised: Path, target: Path, ranges: Ranges, *, operators: Sequence[str]) -> None:
    """Activations and weights s8 with zero points 0, biases FP32: TensorRT's parser refuses everything else."""
    cache = _write_ranges(ranges, optimised.parent)
    with _refusing("static INT8 for TensorRT", optimised.parent):
        quantize_static(
            optimised,
            target,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(operators),
            per_channel=_has_scales_for_channels(optimised),
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibration_cache_path=cache,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "MatMulConstBOnly": True,
                # TensorRT fuses best what is quantised where it enters a layer, not where it leaves one.
                "OpTypesToExcludeOutputQuantization": list(operators),
            },
        )


def _flatten_biases(graph: onnx.GraphProto) -> None:
    """The quantiser stumbles over biases of shape [1, N], which optimisation leaves where a product was added to."""
    readers = Counter(name for node in graph.node for name in node.input)
    biases = {node.input[_BIAS] for node in graph.node if node.op_type == "Gemm" and len(node.input) > _BIAS}
    for tensor in graph.initializer:
        if tensor.name in biases and readers[tensor.name] == 1 and math.prod(tensor.dims) == tensor.dims[-1]:
            tensor.dims[:] = tensor.dims[-1:]


def _has_scales_for_channels(optimised: Path) -> bool:
    sets = onnx.load(optimised, load_external_data=False).opset_import
    return any(entry.domain == "" and entry.version >= _FIRST_OPSET_WITH_AXES for entry in sets)


def _write_ranges(ranges: Ranges, scratch: Path) -> Path:
    """Write what calibration found in the form in which the quantiser takes it."""
    path = scratch / "ranges.json"
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, dict(ranges)), path)
    return path


@contextmanager
def _refusing(what: str, scratch: Path) -> Iterator[None]:
    """Make a refusal of whatever the tools raise, and keep their advice to programmers off the terminal."""
    root = logging.getLogger()  # the tools log to it without a name
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    except OSError:
        raise  # a full disk is not the graph's fault
    except Exception as error:  # the tools raise anything: ValueError, KeyError, their own
        raise ConversionRefused(
            Reason.EXPORT_FAILED,
            f"{what} could not be written: {short_reason(error, os.fspath(scratch))}",
            hint="convert without it: --precision fp32",
        ) from error
    finally:
        root.setLevel(level)
