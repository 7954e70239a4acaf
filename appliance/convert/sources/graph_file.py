"""An exported ONNX file: its inputs and outputs, and cleaning it of everything that is not the model.

Invariant: what is written depends on the graph alone, so the same export gives the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

MAX_INLINE_BYTES = 1_500_000_000  # protobuf ends at 2 GiB

Dim = int | str  # a number, or the name of a dimension that varies


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """Shapes by name, in the order of the file; batch on axis 0 where there is one."""

    inputs: Mapping[str, tuple[Dim, ...]]
    outputs: Mapping[str, tuple[Dim, ...]]


def read_signature(file: Path) -> GraphSignature:
    """Read the names and shapes of inputs and outputs."""
    graph = onnx.load(file, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return GraphSignature(
        {value.name: _dims(value) for value in graph.input if value.name not in weights},
        {value.name: _dims(value) for value in graph.output},
    )


def clean(file: Path, fixed: Mapping[str, Mapping[int, int]] | None = None) -> None:
    """Rewrite `file` without notes of the exporter, and with the given axes of inputs fixed: name -> axis -> size."""
    model = onnx.load(file)
    for value in model.graph.input:
        for axis, size in (fixed or {}).get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_value = size
    _forget_notes(model)
    write_graph(model, file)


def write_graph(model: onnx.ModelProto, file: Path) -> None:
    """Write a graph, its weights beside it if they are too large for one message."""
    for old in (file, data_file(file)):
        old.unlink(missing_ok=True)
    if model.ByteSize() <= MAX_INLINE_BYTES:
        onnx.save(model, file)
        return
    onnx.save(model, file, save_as_external_data=True, all_tensors_to_one_file=True, location=data_file(file).name)


def data_file(file: Path) -> Path:
    """Where the weights of a large graph lie."""
    return file.with_name(file.name + ".data")


def _forget_notes(model: onnx.ModelProto) -> None:
    """Exporters leave source lines and paths of the workstation in free-text fields."""
    model.doc_string = model.graph.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]


def _dims(value: onnx.ValueInfoProto) -> tuple[Dim, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or f"axis{axis}"
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
    )
