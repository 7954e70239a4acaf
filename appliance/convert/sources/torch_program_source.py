"""A program saved by torch.export as a source.

torch.export.load can run code, so a .pt2 is opened only for somebody who says that its makers are trusted. torch 2.13
unpickles with weights_only=False what the archive itself marks as pickled (_load_state_dict and _load_constants in
torch.export.pt2_archive._package) and, as a fallback, its sample inputs (deserialize_torch_artifact in
torch._export.serde.serialize).
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves, tree_unflatten

from appliance.convert.exported_model import ExportedModel, Reference
from appliance.convert.foreign_errors import quiet, refusing
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array
from appliance.convert.sources.graph_file import Dim, clean, read_signature
from appliance.convert.sources.tensor_graph import tensor_graph
from appliance.convert.sources.tensor_samples import TensorInput, tensor_samples
from appliance.convert.task import Task

OPSET = 18
_TOOLS = ("torch", "onnxscript", "onnx", "onnxruntime", "numpy")

Tell = Callable[[str], None]


def export_torch_program(path: Path, folder: Path, request: ConversionRequest, tell: Tell) -> ExportedModel:
    """Export to `folder`. Raises ConversionRefused."""
    if not request.allow_pickle:
        raise ConversionRefused(
            Reason.PICKLE,
            f"{path.name} may hold pickles, which can run code when they are opened",
            hint="if you trust who made it: appliance convert ... --allow-pickle",
        )
    tell("loading the program")
    program = _load(path)
    inputs = _inputs(path, program)
    outputs = [f"output{number}" for number in range(len(program.graph_signature.user_outputs))]
    file = folder / "model.onnx"
    tell("exporting to ONNX")
    _export(program, file, outputs)
    clean(file)
    _refuse_other_names(file, [each.name for each in inputs], outputs)
    samples = tensor_samples(inputs, request.samples)
    calibration = tensor_samples(inputs, request.calibration) if request.calibration else []
    return ExportedModel(
        task=request.task or Task.TENSORS,
        architecture="torch.export program",
        graphs=[tensor_graph(file, _reference(program, outputs), samples, calibration, request, tell)],
        labels=(),
        label_output="",
        samples_are_real=request.samples is not None,
        preprocessing={},
        processor_files=(),
        tool_versions={name: metadata.version(name) for name in _TOOLS},
    )


def _load(path: Path) -> Any:
    def refusal(said: str) -> ConversionRefused:
        return ConversionRefused(
            Reason.NO_WEIGHTS,
            f"{path.name} is not a program that torch {torch.__version__} can load: {said}",
            hint="save it again: torch.export.save(torch.export.export(model, inputs), 'model.pt2')",
        )

    with quiet(), refusing(refusal):
        return torch.export.load(path)


def _export(program: Any, file: Path, outputs: list[str]) -> None:
    def refusal(said: str) -> ConversionRefused:
        return ConversionRefused(
            Reason.EXPORT_FAILED,
            f"torch.onnx could not export the program: {said}",
            hint="rewrite the operator that it names, then export and convert again",
        )

    with quiet(), refusing(refusal):
        found = torch.onnx.export(program, dynamo=True, opset_version=OPSET, output_names=outputs)
        found.save(file)


def _inputs(path: Path, program: Any) -> list[TensorInput]:
    names = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    others = [name for name in names if not isinstance(values.get(name), torch.Tensor)]
    if others or not names:
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            f"{path.name} takes {', '.join(others) or 'nothing'}, expected tensors only",
            hint="export it with tensors as its inputs",
        )
    return [TensorInput(name, _dtype(values[name]), _shape(values[name])) for name in names]


def _dtype(tensor: Any) -> Any:
    return np.dtype(str(tensor.dtype).removeprefix("torch."))


def _shape(tensor: Any) -> tuple[Dim, ...]:
    return tuple(size if isinstance(size, int) else str(size) for size in tensor.shape)


def _refuse_other_names(file: Path, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """An input that is returned as it came gets another name in the graph."""
    found = read_signature(file)
    if set(found.inputs) != set(inputs) or set(found.outputs) != set(outputs):
        raise ConversionRefused(
            Reason.EXPORT_FAILED,
            f"torch.onnx made a graph of {', '.join(found.inputs)} to {', '.join(found.outputs)}, "
            f"expected {', '.join(inputs)} to {', '.join(outputs)}",
            hint="let the model use each of its inputs and return only what it computed",
        )


def _reference(program: Any, outputs: Sequence[str]) -> Reference:
    module = program.module()
    order = program.graph_signature.user_inputs  # names of tensors, and values that were fixed at the export

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        flat = [torch.from_numpy(inputs[each].copy()) if isinstance(each, str) else each for each in order]
        arguments, named = tree_unflatten(flat, program.call_spec.in_spec)
        with torch.inference_mode():
            found = tree_leaves(module(*arguments, **named))
        return {name: value.numpy() for name, value in zip(outputs, found, strict=True)}

    return run
