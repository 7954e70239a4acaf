"""Networks for the builder: one that takes it a while, and ones that it refuses."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from appliance.model.engine import ShapeRange

DIGITS = Path(__file__).parents[3] / "models" / "digits" / "1" / "model.onnx"
DIGITS_PROFILE = {"pixel_values": ShapeRange((1, 1, 32, 32), (4, 1, 32, 32), (64, 1, 32, 32))}


def write_deep(file: Path, layers: int = 60, channels: int = 32) -> Path:
    """A stack of convolutions; seconds of building."""
    random = np.random.default_rng(1)
    nodes, weights, name = [], [], "x"
    for layer in range(layers):
        size = 3 if layer % 2 else 1
        kernel = (random.normal(size=(channels, channels, size, size)) / channels).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [name, f"w{layer}"], [f"c{layer}"], pads=[size // 2] * 4))
        nodes.append(helper.make_node("Sigmoid" if layer % 3 else "Tanh", [f"c{layer}"], [f"a{layer}"]))
        name = f"a{layer}"
    shape = ["batch", channels, 16, 16]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file


def write_dynamically_quantised(file: Path) -> Path:
    """An operator that TensorRT does not have."""
    graph = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"], name="quantise")],
        "dynamic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [4, 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    return file
