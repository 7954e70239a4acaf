"""A plain ONNX file as a source: checked as a box checks it, copied into one clean file.

The reference is the file itself as it came, run without graph optimisations: what is proved is that cleaning, other
forms and the optimiser change nothing, not where the file came from.
"""

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import onnx

from appliance.backends.onnx_inspection import inspect_onnx
from appliance.backends.onnxruntime import open_session
from appliance.backends.trial import trial_load
from appliance.convert.exported_model import ExportedModel, Reference
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array
from appliance.convert.sources.graph_file import GraphSignature, clean, read_signature, write_graph
from appliance.convert.sources.tensor_graph import tensor_graph
from appliance.convert.sources.tensor_samples import TensorInput, tensor_samples
from appliance.convert.task import Task
from appliance.errors import ApplianceError
from appliance.model.config import ModelConfig
from appliance.model.signature import ModelSignature

_TRIAL_MEMORY_BYTES = 8 << 30
_TRIAL_TIMEOUT_S = 300
_UNOPTIMISED = -1
_TOOLS = ("onnx", "onnxruntime", "numpy")

Tell = Callable[[str], None]


def export_onnx(path: Path, folder: Path, request: ConversionRequest, tell: Tell) -> ExportedModel:
    """Copy the model to `folder`. Raises ConversionRefused."""
    tell("trying the ONNX file in a process of its own")
    try:
        signature = trial_load(path, ModelConfig(), memory_bytes=_TRIAL_MEMORY_BYTES, timeout_s=_TRIAL_TIMEOUT_S)
        facts = inspect_onnx(path)
    except ApplianceError as error:
        raise ConversionRefused(
            Reason.EXPORT_FAILED, error.message, hint="export it again for ONNX Runtime's standard operators"
        ) from error
    file = folder / "model.onnx"
    write_graph(onnx.load(path), file)
    clean(file)
    inputs = _inputs(signature, read_signature(file))
    samples = tensor_samples(inputs, request.samples)
    calibration = tensor_samples(inputs, request.calibration) if request.calibration else []
    return ExportedModel(
        task=request.task or Task.TENSORS,
        architecture=f"ONNX by {facts.producer or 'an unnamed exporter'}",
        graphs=[tensor_graph(file, _reference(path), samples, calibration, request)],
        labels=(),
        label_output="",
        samples_are_real=request.samples is not None,
        preprocessing={},
        processor_files=(),
        tool_versions={name: metadata.version(name) for name in _TOOLS},
    )


def _inputs(signature: ModelSignature, shapes: GraphSignature) -> list[TensorInput]:
    return [TensorInput(each.name, each.datatype.numpy, shapes.inputs[each.name]) for each in signature.inputs]


def _reference(path: Path) -> Reference:
    session = open_session(path, graph_level=_UNOPTIMISED)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run
