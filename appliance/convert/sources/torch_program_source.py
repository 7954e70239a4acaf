"""A program saved by torch.export as a source.

torch.export.load unpickles parts of the archive with weights_only=False (torch.export.pt2_archive), so a .pt2 can
run code: it is opened only for somebody who says that its makers are trusted.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from appliance.convert.exported_model import ExportedModel, Reference
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array
from appliance.convert.sources.graph_file import Dim, clean
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
    outputs = [f"output{number}" for number in range(len(program.graph_signature.user_outputs))]
    file = folder / "model.onnx"
    tell("exporting to ONNX")
    _export(program, file, outputs)
    clean(file)
    inputs = _inputs(program)
    samples = tensor_samples(inputs, request.samples)
    calibration = tensor_samples(inputs, request.calibration) if request.calibration else []
    return ExportedModel(
        task=request.task or Task.TENSORS,
        architecture="torch.export program",
        graphs=[tensor_graph(file, _reference(program, outputs), samples, calibration, request)],
        labels=(),
        label_output="",
        samples_are_real=request.samples is not None,
        preprocessing={},
        processor_files=(),
        tool_versions={name: metadata.version(name) for name in _TOOLS},
    )


def _load(path: Path) -> Any:
    try:
        with _quiet():
            return torch.export.load(path)
    except Exception as error:  # torch raises anything; what it says is all there is
        raise ConversionRefused(
            Reason.NO_WEIGHTS,
            f"{path.name} is not a program that torch {torch.__version__} can load: {_first_line(error)}",
            hint="save it again: torch.export.save(torch.export.export(model, inputs), 'model.pt2')",
        ) from error


def _export(program: Any, file: Path, outputs: list[str]) -> None:
    try:
        with _quiet():
            found = torch.onnx.export(program, dynamo=True, opset_version=OPSET, output_names=outputs)
            found.save(file)
    except Exception as error:  # the exporter raises anything
        raise ConversionRefused(
            Reason.EXPORT_FAILED,
            f"torch.onnx could not export the program: {_first_line(error)}",
            hint="rewrite the operator that it names, then export and convert again",
        ) from error


def _inputs(program: Any) -> list[TensorInput]:
    names = program.graph_signature.user_inputs
    nodes = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [TensorInput(name, _dtype(nodes[name].dtype), _shape(nodes[name].shape)) for name in names]


def _dtype(dtype: Any) -> Any:
    return np.dtype(str(dtype).removeprefix("torch."))


def _shape(shape: Any) -> tuple[Dim, ...]:
    return tuple(size if isinstance(size, int) else str(size) for size in shape)


def _reference(program: Any, outputs: list[str]) -> Reference:
    module = program.module()

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        with torch.inference_mode():
            found = module(*(torch.from_numpy(array.copy()) for array in inputs.values()))
        values = found if isinstance(found, (tuple, list)) else (found,)
        return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}

    return run


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells its story on standard output, which belongs to the result."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
