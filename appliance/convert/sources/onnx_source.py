"""A plain ONNX file as a source: checked as a box checks it, copied into one clean file.

The reference is the file itself as it came, run without graph optimisations: what is proved is that cleaning, a freed
batch axis, other forms and the optimiser change nothing, not where the file came from. A file of versions too new for
ONNX Runtime is run by the reference evaluator of the onnx package.
"""

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import onnx
from onnx.reference import ReferenceEvaluator

from appliance.backends.onnxruntime import open_session
from appliance.backends.trial import TrialReport, try_model
from appliance.convert.exported_model import ExportedModel, Reference
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array
from appliance.convert.sources.fixed_batch import free_batch_axis, is_fixed_at_one
from appliance.convert.sources.graph_file import GraphSignature, clean, read_signature, write_graph
from appliance.convert.sources.onnx_versions import lowered
from appliance.convert.sources.row_independence import row_by_row
from appliance.convert.sources.tensor_graph import tensor_graph
from appliance.convert.sources.tensor_samples import TensorInput, tensor_samples
from appliance.convert.task import Task
from appliance.errors import ApplianceError
from appliance.model.config import ModelConfig
from appliance.model.signature import ModelSignature

_TRIAL_MEMORY_BYTES = 8 << 30
_TRIAL_TIMEOUT_S = 300
_UNOPTIMISED = -1
_BATCH = "batch"
_TOOLS = ("onnx", "onnxruntime", "numpy")

Tell = Callable[[str], None]


def export_onnx(path: Path, folder: Path, request: ConversionRequest, tell: Tell) -> ExportedModel:
    """Copy the model to `folder`. Raises ConversionRefused."""
    tell("trying the ONNX file in a process of its own")
    readable, report = _tried(path, folder, tell)
    file = folder / "model.onnx"
    write_graph(onnx.load(readable), file)
    clean(file)
    inputs = _inputs(read_signature(file), report.signature)
    samples = tensor_samples(inputs, request.samples)
    calibration = tensor_samples(inputs, request.calibration) if request.calibration else []
    reference = _session_reference(path) if readable == path else _evaluator_reference(path)
    if _may_be_freed(file, request) and free_batch_axis(file, reference, samples):
        tell("its batch axis was fixed at 1 and is free now")
        reference = row_by_row(reference)
    return ExportedModel(
        task=request.task or Task.TENSORS,
        architecture=f"ONNX by {report.facts.producer or 'an unnamed exporter'}",
        graphs=[tensor_graph(file, reference, samples, calibration, request, tell)],
        labels=(),
        label_output="",
        samples_are_real=request.samples is not None,
        preprocessing={},
        processor_files=(),
        tool_versions={name: metadata.version(name) for name in _TOOLS},
        source_files=[path.parent / name for name in report.facts.external_files],
    )


def _tried(path: Path, folder: Path, tell: Tell) -> tuple[Path, TrialReport]:
    """Return a file that a box reads, this one or a copy of lower versions, and what it is like."""
    try:
        return path, _trial(path)
    except ApplianceError as error:
        copy = lowered(path, folder)
        if copy is None:
            raise _refused(error) from error
    tell("trying it with the versions of ONNX that a box reads")
    try:
        return copy, _trial(copy)
    except ApplianceError as error:
        raise _refused(error) from error


def _trial(path: Path) -> TrialReport:
    return try_model(path, ModelConfig(), memory_bytes=_TRIAL_MEMORY_BYTES, timeout_s=_TRIAL_TIMEOUT_S)


def _refused(error: ApplianceError) -> ConversionRefused:
    return ConversionRefused(
        Reason.EXPORT_FAILED, error.message, hint="export it again for ONNX Runtime's standard operators"
    )


def _may_be_freed(file: Path, request: ConversionRequest) -> bool:
    return request.max_batch_size > 1 and is_fixed_at_one(read_signature(file))


def _inputs(shapes: GraphSignature, signature: ModelSignature) -> list[TensorInput]:
    """Inputs that have a value of their own in the file are left to it."""
    dtypes = {tensor.name: tensor.datatype.numpy for tensor in signature.inputs}
    found = shapes.inputs
    if is_fixed_at_one(shapes):
        found = {name: (_BATCH, *dims[1:]) for name, dims in found.items()}
    return [TensorInput(name, dtypes[name], dims) for name, dims in found.items()]


def _session_reference(path: Path) -> Reference:
    session = open_session(path, graph_level=_UNOPTIMISED)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return run


def _evaluator_reference(path: Path) -> Reference:
    evaluator = ReferenceEvaluator(str(path))

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        return dict(zip(evaluator.output_names, evaluator.run(None, dict(inputs)), strict=True))

    return run
