"""Small ONNX models, made on the fly for tests and measurements.

Every function writes one file, makes its folder where needed and returns its path. Tensors carry Triton's example
names (INPUT0, OUTPUT0). Weights come from a fixed seed: the same arguments give the same bytes.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 10
SEED = 7

# The datatypes of the wire and the ONNX element type of each.
ELEMENT_TYPES: dict[str, int] = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
    "BF16": TensorProto.BFLOAT16,
}

Dims = Sequence[int | str]
Array = NDArray[Any]


def write_identity(path: Path, datatype: str, dims: Dims, batch: bool = True) -> Path:
    """OUTPUT0 = INPUT0 [N, *dims], or [*dims] without batch; a name in dims is a free dimension."""
    shape: Dims = ["N", *dims] if batch else dims
    nodes = [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])]
    return write_graph(path, nodes, [tensor("INPUT0", datatype, shape)], [tensor("OUTPUT0", datatype, shape)])


def write_add_sub(path: Path) -> Path:
    """Triton's `simple`: INPUT0 and INPUT1 INT32 [N, 16] -> OUTPUT0 their sum, OUTPUT1 their difference."""
    shape: Dims = ("N", 16)
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    inputs = [tensor(name, "INT32", shape) for name in ("INPUT0", "INPUT1")]
    return write_graph(path, nodes, inputs, [tensor(name, "INT32", shape) for name in ("OUTPUT0", "OUTPUT1")])


def write_cnn(path: Path) -> Path:
    """A small image network, FP32 [N, 3, 64, 64] -> [N, 10]: about 2 ms per row on one core, 1 MB."""
    random = np.random.default_rng(SEED)
    channels = (3, 32, 64, 128, 128)
    nodes, weights, value = [], {}, "INPUT0"
    for number, (taken, given) in enumerate(pairwise(channels), start=1):
        weights[f"kernel{number}"] = scaled(random, (given, taken, 3, 3), taken * 9)
        # The first layer keeps 64x64: the second one is then the bulk of the work.
        stride = 1 if number == 1 else 2
        nodes += [
            helper.make_node("Conv", [value, f"kernel{number}"], [f"conv{number}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"conv{number}"], [f"relu{number}"]),
            helper.make_node(
                "MaxPool", [f"relu{number}"], [f"pool{number}"], kernel_shape=[stride] * 2, strides=[stride] * 2
            ),
        ]
        value = f"pool{number}"
    weights["head"] = scaled(random, (channels[-1], 10), channels[-1])
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["average"]),
        helper.make_node("Flatten", ["average"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["OUTPUT0"]),
    ]
    inputs = [tensor("INPUT0", "FP32", ["N", 3, 64, 64])]
    return write_graph(path, nodes, inputs, [tensor("OUTPUT0", "FP32", ["N", 10])], weights)


def write_mlp(path: Path, widths: Sequence[int] = (1024, 4096, 1024, 64)) -> Path:
    """Dense layers with ReLU, FP32 [N, first width] -> [N, last]: gains much from batching; 34 MB unless told."""
    random = np.random.default_rng(SEED)
    nodes, weights, value = [], {}, "INPUT0"
    layers = len(widths) - 1
    for number, (taken, given) in enumerate(pairwise(widths), start=1):
        weights[f"weights{number}"] = scaled(random, (taken, given), taken)
        product = "OUTPUT0" if number == layers else f"product{number}"
        nodes += [helper.make_node("MatMul", [value, f"weights{number}"], [product])]
        if number < layers:
            value = f"relu{number}"
            nodes += [helper.make_node("Relu", [product], [value])]
    inputs = [tensor("INPUT0", "FP32", ["N", widths[0]])]
    return write_graph(path, nodes, inputs, [tensor("OUTPUT0", "FP32", ["N", widths[-1]])], weights)


def write_spinner(path: Path) -> Path:
    """OUTPUT0 INT64 [1] = INPUT0 INT64 [1], counted up one by one: a large number takes as long as is wanted."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Add", ["count", "one"], ["counted"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("counted", TensorProto.INT64, [1]),
        ],
        [numpy_helper.from_array(np.ones(1, np.int64), "one")],
    )
    constants = {"scalar": np.zeros(0, np.int64), "true": np.array(True), "zero": np.zeros(1, np.int64)}
    nodes = [
        *(
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(v))
            for name, v in constants.items()
        ),
        helper.make_node("Reshape", ["INPUT0", "scalar"], ["trips"]),
        helper.make_node("Loop", ["trips", "true", "zero"], ["OUTPUT0"], body=body),
    ]
    return write_graph(path, nodes, [tensor("INPUT0", "INT64", [1])], [tensor("OUTPUT0", "INT64", [1])])


def tensor(name: str, datatype: str, shape: Dims) -> onnx.ValueInfoProto:
    """An input or output of a graph, in the words of the wire."""
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[datatype], list(shape))


def write_graph(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, Array] | None = None,
) -> Path:
    """Write a checked model of these parts; weights: initializer name -> array."""
    constants = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), path.stem, list(inputs), list(outputs), constants)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="tests"
    )
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def scaled(random: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Array:
    """Weights that keep the size of activations from layer to layer."""
    weights: Array = random.standard_normal(shape) * np.sqrt(2 / fan_in)
    return weights.astype(np.float32)
