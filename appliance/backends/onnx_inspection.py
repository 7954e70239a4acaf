"""Reads what an ONNX file would do before any runtime sees it: its operators, and the files it asks for.

Pure reading with a parser of our own schema, no ONNX Runtime. The parsed graph of a hostile file can be far larger
than the file, so files of unknown origin are inspected in a process with a memory limit (trial_child), never in the
daemon.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from google.protobuf.message import DecodeError

from appliance.backends.onnx_external_data import ExternalFiles
from appliance.backends.onnx_pb.onnx_graph_pb2 import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
)
from appliance.errors import InvalidInput

LARGEST_FILE_BYTES = 2**31 - 1  # protobuf's own limit; ONNX keeps larger weights in external data files
NEWEST_IR_VERSION = 13

# What ONNX Runtime 1.28 has kernels for. Its other domains are left out: ai.onnx.training, ai.onnx.preview.training
# and org.pytorch.aten exist only in training builds, com.microsoft.extensions calls remote services, and any other
# domain needs a library of custom operators. A file may list those domains as long as no operator is used from them.
NEWEST_OPSETS = MappingProxyType({"": 26, "ai.onnx.ml": 5, "com.microsoft": 1, "com.microsoft.nchwc": 1})
_REMOTE_DOMAIN = "com.microsoft.extensions"
_REMOTE_OPERATOR = re.compile(r"Azure|OpenAI")
_COMPILED = frozenset({"EPContext"})  # carries or names a binary for another runtime, outside all checks
_LFS_POINTER = b"version https://git-lfs"
_LARGEST_QUOTE = 120

_Part = GraphProto | FunctionProto | NodeProto | AttributeProto | TensorProto | SparseTensorProto


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """What an acceptable ONNX file says about itself."""

    ir_version: int
    opsets: Mapping[str, int]  # domain -> version; the domain of ONNX itself is ''
    producer: str
    operators: tuple[str, ...]  # sorted; with the domain in front unless it is ONNX's own: 'com.microsoft.Gelu'
    node_count: int  # subgraphs and functions included
    external_files: tuple[str, ...]  # relative to the model file, in the order of their appearance
    metadata: Mapping[str, str]


def inspect_onnx(model_file: Path) -> OnnxFacts:
    """Read an ONNX file and check everything that can be checked without running it.

    Raises InvalidInput with what was found, what was expected and a way out.
    """
    model = _parse(model_file)
    file = model_file.name
    if not model.graph.node:
        raise InvalidInput(
            f"{file} has no operators, expected an ONNX graph that computes something",
            hint="check that the file is the exported model",
        )
    _check_types(file, model.graph)
    opsets = _opsets(model)
    _check_versions(file, model.ir_version, opsets)
    local = frozenset((text_of(function.domain), text_of(function.name)) for function in model.functions)
    operators: set[str] = set()
    node_count = 0
    external = ExternalFiles(model_file)
    for part in _parts_of(model):
        if isinstance(part, NodeProto):
            node_count += 1
            operators.add(_check_operator(file, part, local))
        else:
            external.check(part)
    return OnnxFacts(
        ir_version=model.ir_version,
        opsets=MappingProxyType(opsets),
        producer=f"{text_of(model.producer_name)} {text_of(model.producer_version)}".strip(),
        operators=tuple(sorted(operators)),
        node_count=node_count,
        external_files=external.names,
        metadata=MappingProxyType({text_of(entry.key): text_of(entry.value) for entry in model.metadata_props}),
    )


def text_of(value: str | bytes) -> str:
    """Return protobuf text; the parser hands out bytes where it is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def quoted(value: str | bytes) -> str:
    """Quote a name from the file: one line, printable, bounded."""
    text = text_of(value)
    return repr(text if len(text) <= _LARGEST_QUOTE else text[:_LARGEST_QUOTE] + "...")


def _parse(model_file: Path) -> ModelProto:
    file = model_file.name
    if model_file.suffix.lower() == ".ort":  # ONNX Runtime would read it as a FlatBuffer, which nothing here checks
        raise InvalidInput(
            f"{file} is in ONNX Runtime's own format, expected ONNX", hint="give the .onnx file instead"
        )
    data = _read(model_file)
    if data.startswith(_LFS_POINTER):
        raise InvalidInput(
            f"{file} is a Git LFS pointer of {len(data)} bytes, expected the model itself",
            hint="fetch it: git lfs pull",
        )
    missing_bytes = _missing_bytes(data)
    if missing_bytes:
        raise InvalidInput(
            f"{file} is cut off or not an ONNX file: it has {len(data)} bytes and announces at least "
            f"{missing_bytes} more",
            hint="copy the file again and compare its SHA-256",
        )
    try:
        return ModelProto.FromString(data)
    except DecodeError as error:
        raise InvalidInput(
            f"{file} is not an ONNX file, or it is damaged: its {len(data)} bytes are not an ONNX ModelProto",
            hint="export the model to ONNX, or copy the file again and compare its SHA-256",
        ) from error


def _read(model_file: Path) -> bytes:
    file = model_file.name
    try:
        if not model_file.is_file():
            raise InvalidInput(f"{file} does not exist or is not a regular file", hint="name an .onnx file")
        size_bytes = model_file.stat().st_size
        if not 0 < size_bytes <= LARGEST_FILE_BYTES:
            raise InvalidInput(
                f"{file} has {size_bytes} bytes, expected 1 to {LARGEST_FILE_BYTES} (2 GiB)",
                hint="keep large weights in an external data file: onnx.save(..., save_as_external_data=True)",
            )
        return model_file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error


def _missing_bytes(data: bytes) -> int:
    """Follow the outermost fields; return how many bytes the last one announces beyond the end.

    0 if none, or if the number itself is nonsense: then the parser decides.
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        match key & 7:
            case 0:
                _, position = _varint(data, position)
            case 1:
                position += 8
            case 2:
                length, position = _varint(data, position)
                position += length
            case 5:
                position += 4
            case _:
                return 0
    missing = position - len(data)
    return missing if missing <= LARGEST_FILE_BYTES else 0


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            return value, len(data) + 1
        value |= (data[position] & 127) << shift
        position += 1
        if data[position - 1] < 128:  # noqa: PLR2004  # the continuation bit
            break
    return value, position


def _check_types(file: str, graph: GraphProto) -> None:
    """Refuse complex numbers by tensor: ONNX Runtime names only their type. Other types show in its signature."""
    for kind, tensors in (("input", graph.input), ("output", graph.output)):
        for tensor in tensors:
            number = tensor.type.tensor_type.elem_type
            if number in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
                raise InvalidInput(
                    f"{file}: {kind} {quoted(tensor.name)} has type {TensorProto.DataType.Name(number)}, "
                    "which the protocol cannot carry",
                    hint="export the model with tensors of one of the 14 protocol datatypes",
                )


def _opsets(model: ModelProto) -> dict[str, int]:
    opsets: dict[str, int] = {}
    imports: list[OperatorSetIdProto] = [*model.opset_import]
    for function in model.functions:
        imports += function.opset_import
    for entry in imports:
        domain = _domain_of(entry.domain)
        opsets[domain] = max(entry.version, opsets.get(domain, 0))
    return opsets


def _domain_of(value: str | bytes) -> str:
    domain = text_of(value)
    return "" if domain == "ai.onnx" else domain


def _check_versions(file: str, ir_version: int, opsets: Mapping[str, int]) -> None:
    if ir_version > NEWEST_IR_VERSION:
        raise InvalidInput(
            f"{file} has ONNX IR version {ir_version}, expected {NEWEST_IR_VERSION} or lower",
            hint="export it with an older onnx package, or update the appliance",
        )
    for domain, newest in NEWEST_OPSETS.items():
        if opsets.get(domain, 0) > newest:
            raise InvalidInput(
                f"{file} uses opset {opsets[domain]} of {domain or 'ai.onnx'}, expected {newest} or lower",
                hint=f"export it with opset_version={newest}, or update the appliance",
            )


def _check_operator(file: str, node: NodeProto, local: frozenset[tuple[str, str]]) -> str:
    """Return the operator's name with its domain. Raises InvalidInput if this build must not run it."""
    domain, name = _domain_of(node.domain), text_of(node.op_type)
    if domain == _REMOTE_DOMAIN or _REMOTE_OPERATOR.match(name):
        raise InvalidInput(
            f"{file} uses the operator {quoted(name)} of {quoted(domain)}, which calls a remote service",
            hint="export the model without it: everything is computed on this box",
        )
    if name in _COMPILED:
        raise InvalidInput(
            f"{file} holds a part compiled for another runtime (operator {name}), expected plain ONNX",
            hint="give the ONNX file from before the compilation",
        )
    if domain not in NEWEST_OPSETS and (text_of(node.domain), name) not in local:
        known = ", ".join(key or "ai.onnx" for key in NEWEST_OPSETS)
        raise InvalidInput(
            f"{file} uses the operator {quoted(name)} of {quoted(domain)}, expected operators of {known}",
            hint="custom operators need a library that this build does not load: export the model without them",
        )
    return f"{domain}.{name}" if domain else name


def _parts_of(model: ModelProto) -> Iterator[NodeProto | TensorProto]:
    """Walk every node and tensor, wherever ONNX can place one. The stack replaces recursion: depth is the file's."""
    stack: list[_Part] = [model.graph, *model.functions]
    for training in model.training_info:
        stack += (training.initialization, training.algorithm)
    while stack:
        part = stack.pop()
        if isinstance(part, NodeProto | TensorProto):
            yield part
        stack += _inside(part)


def _inside(part: _Part) -> Iterator[_Part]:
    match part:
        case GraphProto():
            yield from part.node
            yield from part.initializer
            yield from part.sparse_initializer
        case FunctionProto():
            yield from part.node
            yield from part.attribute_proto
        case NodeProto():
            yield from part.attribute
        case SparseTensorProto():
            yield part.values
            yield part.indices
        case AttributeProto():
            yield from part.tensors
            yield from part.graphs
            yield from part.sparse_tensors
            yield from (getattr(part, field) for field in ("t", "g", "sparse_tensor") if part.HasField(field))
