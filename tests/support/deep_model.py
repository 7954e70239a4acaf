"""Graphs whose engine takes TensorRT as long to build as a test needs."""

from pathlib import Path

import numpy as np
from onnx import helper

from tests.support.onnx_models import SEED, scaled, tensor, write_graph

CHANNELS = 4


def write_deep(path: Path, layers: int) -> Path:
    """FP32 [N, 4, 32, 32] -> the same: 1000 layers take TensorRT-RTX 3 to 4 s on one core."""
    random = np.random.default_rng(SEED)
    nodes, weights, value = [], {}, "INPUT0"
    for number in range(layers):
        name = "OUTPUT0" if number == layers - 1 else f"relu{number}"
        weights[f"kernel{number}"] = scaled(random, (CHANNELS, CHANNELS, 3, 3), CHANNELS * 9)
        nodes += [
            helper.make_node("Conv", [value, f"kernel{number}"], [f"conv{number}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"conv{number}"], [name]),
        ]
        value = name
    shape = ["N", CHANNELS, 32, 32]
    return write_graph(path, nodes, [tensor("INPUT0", "FP32", shape)], [tensor("OUTPUT0", "FP32", shape)], weights)
