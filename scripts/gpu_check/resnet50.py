"""ResNet-50 at its real size with random weights: FP32 [N, 3, 224, 224] -> [N, 1000], 102 MB, 4.1 GFLOP a row.

Batch normalisation is folded into the convolutions, as exporters do.
"""

from pathlib import Path

import numpy as np
from onnx import NodeProto, helper

from tests.support.onnx_models import Array, scaled, tensor, write_graph

_BLOCKS = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))  # blocks, width, stride of the first
_EXPANSION = 4
_CLASSES = 1000
_SEED = 11


def write_resnet50(path: Path) -> Path:
    """Write the model file."""
    network = _Network()
    value = network.convolution("INPUT0", 3, 64, kernel=7, stride=2)
    value = network.add("Relu", [value])
    value = network.add("MaxPool", [value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for count, width, first_stride in _BLOCKS:
        for number in range(count):
            value = network.bottleneck(value, channels, width, first_stride if number == 0 else 1)
            channels = width * _EXPANSION
    value = network.add("GlobalAveragePool", [value])
    value = network.add("Flatten", [value])
    network.weights["head"] = scaled(network.random, (channels, _CLASSES), channels)
    network.nodes.append(helper.make_node("MatMul", [value, "head"], ["OUTPUT0"]))
    inputs, outputs = [tensor("INPUT0", "FP32", ["N", 3, 224, 224])], [tensor("OUTPUT0", "FP32", ["N", _CLASSES])]
    return write_graph(path, network.nodes, inputs, outputs, network.weights)


class _Network:
    """Nodes and weights so far."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, Array] = {}
        self.random = np.random.default_rng(_SEED)

    def add(self, operator: str, inputs: list[str], **attributes: object) -> str:
        """Append a node and return its output's name."""
        name = f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def convolution(self, value: str, taken: int, given: int, *, kernel: int, stride: int = 1) -> str:
        """Append a convolution that keeps the size, but for its stride."""
        number = len(self.nodes)
        self.weights[f"kernel{number}"] = scaled(self.random, (given, taken, kernel, kernel), taken * kernel * kernel)
        self.weights[f"bias{number}"] = np.zeros(given, dtype=np.float32)
        inputs = [value, f"kernel{number}", f"bias{number}"]
        return self.add("Conv", inputs, pads=[kernel // 2] * 4, strides=[stride] * 2)

    def bottleneck(self, value: str, taken: int, width: int, stride: int) -> str:
        """Append one residual block."""
        given = width * _EXPANSION
        inner = self.add("Relu", [self.convolution(value, taken, width, kernel=1)])
        inner = self.add("Relu", [self.convolution(inner, width, width, kernel=3, stride=stride)])
        inner = self.convolution(inner, width, given, kernel=1)
        same = taken == given and stride == 1
        beside = value if same else self.convolution(value, taken, given, kernel=1, stride=stride)
        return self.add("Relu", [self.add("Add", [inner, beside])])
