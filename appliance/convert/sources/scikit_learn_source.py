"""A scikit-learn model or pipeline as a source.

Its file is a pickle whatever its name, so it is opened only for somebody who says that its makers are trusted. The
ONNX graph computes in FP32 what scikit-learn computes in FP64: the comparison tells whether that matters.
"""

import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.exceptions import InconsistentVersionWarning

from appliance.convert.exported_model import ExportedModel, Reference
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array
from appliance.convert.sources.graph_file import clean, write_graph
from appliance.convert.sources.tensor_graph import tensor_graph
from appliance.convert.sources.tensor_samples import TensorInput, tensor_samples
from appliance.convert.task import Task

INPUT = "features"
LABEL, PROBABILITIES, VALUE = "label", "probabilities", "variable"
OPSET = 18
_TOOLS = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")

Tell = Callable[[str], None]


def export_scikit_learn(path: Path, folder: Path, request: ConversionRequest, tell: Tell) -> ExportedModel:
    """Export to `folder`. Raises ConversionRefused."""
    if not request.allow_pickle:
        raise ConversionRefused(
            Reason.PICKLE,
            f"{path.name} is a pickle, which can run code when it is opened",
            hint="if you trust who made it: appliance convert ... --allow-pickle",
        )
    tell("loading the scikit-learn model")
    model = _load(path)
    file = folder / "model.onnx"
    tell("exporting to ONNX")
    outputs = _export(model, file)
    inputs = [TensorInput(INPUT, np.float32, ("batch", model.n_features_in_))]
    ranges = {INPUT: feature_ranges(model)}
    samples = tensor_samples(inputs, request.samples, ranges)
    calibration = tensor_samples(inputs, request.calibration, ranges) if request.calibration else []
    labels = [str(label) for label in getattr(model, "classes_", ())]
    return ExportedModel(
        task=request.task or Task.TENSORS,
        architecture=_architecture(model),
        graphs=[tensor_graph(file, _reference(model, outputs), samples, calibration, request)],
        labels=labels if PROBABILITIES in outputs else (),
        label_output=PROBABILITIES if PROBABILITIES in outputs else "",
        samples_are_real=request.samples is not None,
        preprocessing={"features": [str(name) for name in getattr(model, "feature_names_in_", ())]},
        processor_files=(),
        tool_versions={name: metadata.version(name) for name in _TOOLS},
    )


def feature_ranges(model: Any) -> tuple[Array, Array]:
    """Where the features of the training data lay, as far as the model remembers; else -3 to 3."""
    count = model.n_features_in_
    for part in _parts(model):
        if hasattr(part, "data_min_"):
            return part.data_min_, part.data_max_
        if getattr(part, "mean_", None) is not None and getattr(part, "scale_", None) is not None:
            return part.mean_ - 3 * part.scale_, part.mean_ + 3 * part.scale_
        if hasattr(part, "support_vectors_") and part.support_vectors_.shape[1] == count:
            return part.support_vectors_.min(axis=0), part.support_vectors_.max(axis=0)
        if (limits := _thresholds(part, count)) is not None:
            return limits
    return np.full(count, -3.0), np.full(count, 3.0)


def _thresholds(part: Any, count: int) -> tuple[Array, Array] | None:
    """From the splits of trees: lowest and highest, with a margin beyond them."""
    trees = [tree.tree_ for tree in np.ravel(getattr(part, "estimators_", [])) if hasattr(tree, "tree_")]
    if not trees:
        return None
    features = np.concatenate([tree.feature for tree in trees])
    thresholds = np.concatenate([tree.threshold for tree in trees])
    lowest, highest = np.zeros(count), np.ones(count)
    for feature in range(count):
        own = thresholds[features == feature]
        if len(own):
            lowest[feature], highest[feature] = own.min() - 1, own.max() + 1
    return lowest, highest


def _parts(model: Any) -> list[Any]:
    return [part for _, part in model.steps] if hasattr(model, "steps") else [model]


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            model = joblib.load(path)
    except InconsistentVersionWarning as error:
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"{path.name} was saved by scikit-learn {error.original_sklearn_version}, "
            f"this environment has {error.current_sklearn_version}",
            hint=f"train it again here, or: pip install scikit-learn=={error.original_sklearn_version}",
        ) from error
    except Exception as error:  # a pickle can raise anything
        raise ConversionRefused(
            Reason.NO_WEIGHTS,
            f"{path.name} cannot be loaded: {_first_line(error)}",
            hint="save the fitted model again: joblib.dump(model, 'model.joblib')",
        ) from error
    if not hasattr(model, "predict") or not hasattr(model, "n_features_in_"):
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"{path.name} holds {type(model).__name__}, expected a fitted scikit-learn model with predict",
            hint="fit the model or pipeline before it is saved",
        )
    return model


def _export(model: Any, file: Path) -> tuple[str, ...]:
    is_classifier = hasattr(model, "classes_")
    options = {id(model): {"zipmap": False}} if is_classifier else None
    try:
        graph = to_onnx(
            model,
            initial_types=[(INPUT, FloatTensorType([None, model.n_features_in_]))],
            options=options,
            target_opset={"": OPSET, "ai.onnx.ml": 3},
        )
    except Exception as error:  # skl2onnx raises anything
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"skl2onnx cannot export {_architecture(model)}: {_first_line(error)}",
            hint="replace the part that it names; pipelines of scikit-learn's own estimators convert",
        ) from error
    wanted = _outputs(model)
    _keep_outputs(graph.graph, wanted)
    write_graph(graph, file)
    clean(file)
    return wanted


def _outputs(model: Any) -> tuple[str, ...]:
    if not hasattr(model, "classes_"):
        return (VALUE,)
    # Without predict_proba the graph's second output holds scores that scikit-learn spells in another way.
    return (LABEL, PROBABILITIES) if hasattr(model, "predict_proba") else (LABEL,)


def _keep_outputs(graph: Any, wanted: tuple[str, ...]) -> None:
    """Give every output the batch axis of the input, too: skl2onnx leaves it without a name."""
    kept = [value for value in graph.output if value.name in wanted]
    del graph.output[:]
    graph.output.extend(kept)
    for value in (*graph.input, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims:
            dims[0].Clear()
            dims[0].dim_param = "batch"
        elif value.name == LABEL:
            value.CopyFrom(onnx.helper.make_tensor_value_info(LABEL, value.type.tensor_type.elem_type, ["batch"]))


def _reference(model: Any, outputs: tuple[str, ...]) -> Reference:
    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        features = inputs[INPUT].astype(np.float64)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            found = {LABEL: model.predict(features)}
            if PROBABILITIES in outputs:
                found[PROBABILITIES] = model.predict_proba(features).astype(np.float32)
        if VALUE in outputs:
            return {VALUE: found[LABEL].reshape(len(features), -1).astype(np.float32)}
        return found

    return run


def _architecture(model: Any) -> str:
    names = [type(part).__name__ for part in _parts(model)]
    return f"Pipeline({', '.join(names)})" if hasattr(model, "steps") else names[0]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
