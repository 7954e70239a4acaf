"""A trained network of dense layers as an ONNX graph, and the choice among candidates.

The graph holds plain operators only (no ai.onnx.ml domain), so that every runtime can read it:
Flatten, optionally Sub and Div (standardisation), Gemm and Relu per layer, Softmax. The batch dimension is N.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.model_selection import StratifiedKFold, train_test_split

SEED = 20240601
FOLDS = 5
OUTPUT = "probabilities"
OPSET = 17
IR_VERSION = 8

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from and rows to measure with; x: [rows, ...] float32, y: [rows] class numbers."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


@dataclass(frozen=True, slots=True)
class Dense:
    """weights: [inputs, outputs], bias: [outputs]."""

    weights: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Standardisation:
    """mean and scale: one value per input column."""

    mean: Array
    scale: Array


def split(x: Array, y: Array, test_share: float) -> Split:
    """Split the rows, each class in proportion."""
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=test_share, stratify=y, random_state=SEED)
    return Split(train_x, train_y, test_x, test_y)


def cross_validate(score: Callable[[Split], float], rows: Split) -> float:
    """Mean of `score` over folds of the training rows; the test rows are not looked at."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    x, y = rows.train_x, rows.train_y
    return float(np.mean([score(Split(x[fit], y[fit], x[check], y[check])) for fit, check in folds.split(x, y)]))


def two_columns(layer: Dense) -> Dense:
    """A single logit z as the two logits (0, z): their softmax is (1 - sigmoid(z), sigmoid(z))."""
    return Dense(np.hstack([np.zeros_like(layer.weights), layer.weights]), np.array([0.0, float(layer.bias[0])]))


def export(
    name: str,
    input_name: str,
    row_dims: Sequence[int],
    layers: Sequence[Dense],
    standardisation: Standardisation | None = None,
) -> onnx.ModelProto:
    """The network as a checked ONNX model: input [N, *row_dims] FP32, output probabilities [N, classes] FP32."""
    nodes = [helper.make_node("Flatten", [input_name], ["flat"], axis=1)]
    constants: dict[str, Array] = {}
    value = "flat"
    if standardisation is not None:
        constants |= {"mean": standardisation.mean, "scale": standardisation.scale}
        nodes += [helper.make_node("Sub", ["flat", "mean"], ["centred"])]
        nodes += [helper.make_node("Div", ["centred", "scale"], ["standardised"])]
        value = "standardised"
    for number, layer in enumerate(layers, start=1):
        weights, bias, logits = f"weights{number}", f"bias{number}", f"logits{number}"
        constants |= {weights: layer.weights, bias: layer.bias}
        nodes += [helper.make_node("Gemm", [value, weights, bias], [logits])]
        value = logits
        if number < len(layers):
            value = f"hidden{number}"
            nodes += [helper.make_node("Relu", [logits], [value])]
    nodes += [helper.make_node("Softmax", [value], [OUTPUT], axis=1)]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["N", *row_dims])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", layers[-1].bias.size])],
        [numpy_helper.from_array(array.astype(np.float32), key) for key, array in constants.items()],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="train-models",
        producer_version="1",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def predict(model: onnx.ModelProto, x: Array) -> Array:
    """Probabilities [rows, classes], from ONNX Runtime on the CPU, one row at a time as a client would ask."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    return np.concatenate([session.run([OUTPUT], {input_name: x[row : row + 1]})[0] for row in range(len(x))])


def require_same(exported: Array, reference: Array) -> None:
    """Raises ValueError if the ONNX model does not answer as the trained one."""
    error = float(np.abs(exported - reference).max())
    if error > 1e-4:
        raise ValueError(f"the ONNX model differs from the trained one by {error:.2g}, allowed are 1e-4")


def first_correct(probabilities: Array, rows: Split, label: int) -> int:
    """Number of the first test row of class `label` that is answered correctly."""
    correct = (probabilities.argmax(axis=1) == label) & (rows.test_y == label)
    return int(np.flatnonzero(correct)[0])


def unsure_correct(probabilities: Array, rows: Split, labels: Sequence[int]) -> int:
    """Number of the correctly answered test row of these classes whose probability is nearest 0.9.

    Such a row shows small numerical differences that 0.0 and 1.0 hide, yet its answer does not flip.
    """
    answers = probabilities.argmax(axis=1)
    eligible = (answers == rows.test_y) & np.isin(rows.test_y, labels)
    distance = np.where(eligible, np.abs(probabilities.max(axis=1) - 0.9), np.inf)
    return int(distance.argmin())
