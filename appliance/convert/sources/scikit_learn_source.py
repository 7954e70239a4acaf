"""A scikit-learn model or pipeline as a source.

Its file is a pickle whatever its name, so it is opened only for somebody who says that its makers are trusted. The
ONNX graph computes in FP32 what scikit-learn computes in FP64: the comparison tells whether that matters.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
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
from appliance.convert.foreign_errors import refusing
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array
from appliance.convert.sources.feature_ranges import feature_ranges, parts
from appliance.convert.sources.graph_file import clean, read_signature, write_graph
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
    _refuse_answers(path, model)
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
        graphs=[tensor_graph(file, _reference(model, file, outputs), samples, calibration, request, tell)],
        labels=labels if PROBABILITIES in outputs else (),
        label_output=PROBABILITIES if PROBABILITIES in outputs else "",
        samples_are_real=request.samples is not None,
        preprocessing={"features": [str(name) for name in getattr(model, "feature_names_in_", ())]},
        processor_files=(),
        tool_versions={name: metadata.version(name) for name in _TOOLS},
    )


def _load(path: Path) -> Any:
    def refusal(said: str) -> ConversionRefused:
        return ConversionRefused(
            Reason.NO_WEIGHTS,
            f"{path.name} cannot be loaded: {said}",
            hint="save the fitted model again: joblib.dump(model, 'model.joblib')",
        )

    with refusing(refusal), warnings.catch_warnings():
        warnings.simplefilter("error", InconsistentVersionWarning)
        try:
            model = joblib.load(path)
        except InconsistentVersionWarning as error:
            raise ConversionRefused(
                Reason.UNSUPPORTED_ARCHITECTURE,
                f"{path.name} was saved by scikit-learn {error.original_sklearn_version}, "
                f"this environment has {error.current_sklearn_version}",
                hint=f"train it again here, or: pip install scikit-learn=={error.original_sklearn_version}",
            ) from error
    if not hasattr(model, "predict") or not hasattr(model, "n_features_in_"):
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"{path.name} holds {type(model).__name__}, expected a fitted scikit-learn model with predict",
            hint="fit the model or pipeline before it is saved",
        )
    return model


def _refuse_answers(path: Path, model: Any) -> None:
    """An ONNX classifier gives one label for each row, and its labels are whole numbers or texts."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        return
    if isinstance(classes, list) or np.ndim(_predict(model, np.zeros((1, model.n_features_in_)))) > 1:
        found = "predicts several labels for each row, expected one"
    elif np.asarray(classes).dtype.kind == "f" and np.any(np.asarray(classes) % 1):
        found = f"has the classes {', '.join(map(str, classes[:5]))}, expected texts or whole numbers"
    else:
        return
    raise ConversionRefused(
        Reason.UNSUPPORTED_ARCHITECTURE,
        f"{path.name} {found}",
        hint="train one classifier for each label, with texts or whole numbers as its classes, and convert each",
    )


def _export(model: Any, file: Path) -> tuple[str, ...]:
    is_classifier = hasattr(model, "classes_")
    options = {id(model): {"zipmap": False}} if is_classifier else None

    def refusal(said: str) -> ConversionRefused:
        return ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"skl2onnx cannot export {_architecture(model)}: {said}",
            hint="replace the part that it names; pipelines of scikit-learn's own estimators convert",
        )

    with refusing(refusal), warnings.catch_warnings():
        # skl2onnx reads them of every SVC, whether it has probabilities or not
        warnings.filterwarnings("ignore", "Attribute `prob[AB]_` was deprecated", FutureWarning)
        graph = to_onnx(
            model,
            initial_types=[(INPUT, FloatTensorType([None, model.n_features_in_]))],
            options=options,
            target_opset={"": OPSET, "ai.onnx.ml": 3},
        )
    wanted = _outputs(model, [value.name for value in graph.graph.output])
    _keep_outputs(graph.graph, wanted)
    write_graph(graph, file)
    clean(file)
    return wanted


def _outputs(model: Any, found: Sequence[str]) -> tuple[str, ...]:
    if LABEL not in found:
        return (VALUE,)
    # What skl2onnx gives beside the label in other cases are scores that scikit-learn spells in another way.
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


def _reference(model: Any, file: Path, outputs: tuple[str, ...]) -> Reference:
    rank_of_label = len(read_signature(file).outputs.get(LABEL, ()))

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        features = inputs[INPUT].astype(np.float64)
        found = _predict(model, features)
        if VALUE in outputs:
            return {VALUE: found.reshape(len(features), -1).astype(np.float32)}
        answer = {LABEL: _whole_or_text(found).reshape((-1, 1)[:rank_of_label])}
        if PROBABILITIES in outputs:
            answer[PROBABILITIES] = _predict(model, features, "predict_proba").astype(np.float32)
        return answer

    return run


def _predict(model: Any, features: Array, method: str = "predict") -> Array:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return np.asarray(getattr(model, method)(features))


def _whole_or_text(labels: Array) -> Array:
    """ONNX has 64-bit integers for labels that scikit-learn keeps as floats, booleans or smaller integers."""
    return labels.astype(np.int64) if labels.dtype.kind in "fbiu" else labels


def _architecture(model: Any) -> str:
    names = [type(part).__name__ for part in parts(model)]
    return f"Pipeline({', '.join(names)})" if hasattr(model, "steps") else names[0]
