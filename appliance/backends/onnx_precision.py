"""In which precision an ONNX file computes, told from its outermost structure without reading the weights.

The file is walked field by field (protobuf's wire format) and everything large is skipped, so memory does not grow
with the file. For people only: what makes two files different is their digest.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from appliance.errors import InvalidInput

UNKNOWN = "unknown"
_GRAPH, _NODE, _INITIALIZER = 7, 1, 5  # fields of ModelProto and of GraphProto
_OPERATOR = 4  # of NodeProto
_DIMENSIONS, _DATATYPE = 1, 2  # of TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_QUANTISING = frozenset({b"QuantizeLinear", b"DequantizeLinear"})
_FLOATS = {1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16"}
_LONGEST_OPERATOR = 64
_VARINT_BITS = 70

_Field = tuple[int, int, int]  # number, wire type, value (of a varint) or length in bytes


def onnx_precision(model_file: Path) -> str:
    """Return "int8" for a quantised graph, else the type of most weights: "fp32", "fp16", "bf16", "fp64".

    A file that is not ONNX is "unknown": the parser says what is wrong with it. Raises InvalidInput if it cannot be
    read.
    """
    try:
        with model_file.open("rb") as stream:
            size_bytes = model_file.stat().st_size
            return _precision(stream, size_bytes)
    except EOFError:
        return UNKNOWN
    except OSError as error:
        raise InvalidInput(f"{model_file} cannot be read: {error.strerror}") from error


def _precision(stream: BinaryIO, size_bytes: int) -> str:
    weights: Counter[str] = Counter()
    for number, wire, length in _fields(stream, size_bytes):
        if (number, wire) != (_GRAPH, _BYTES):
            continue
        for part, kind, part_bytes in _fields(stream, stream.tell() + length):
            end = stream.tell() + part_bytes
            if (part, kind) == (_NODE, _BYTES) and _operator(stream, end) in _QUANTISING:
                return "int8"
            if (part, kind) == (_INITIALIZER, _BYTES):
                weights.update(_weights(stream, end))
    return weights.most_common(1)[0][0] if weights else "fp32"


def _operator(stream: BinaryIO, end: int) -> bytes:
    for number, wire, length in _fields(stream, end):
        if (number, wire) == (_OPERATOR, _BYTES):
            return stream.read(length) if length <= _LONGEST_OPERATOR else b""
    return b""


def _weights(stream: BinaryIO, end: int) -> dict[str, int]:
    """Count the elements of one initializer, if they are floating-point numbers."""
    dimensions, datatype = [], 0
    for number, wire, value in _fields(stream, end):
        if number == _DIMENSIONS and wire == _BYTES:  # packed
            last = stream.tell() + value
            while stream.tell() < last:
                dimensions.append(_varint(stream))
        elif number == _DIMENSIONS:
            dimensions.append(value)
        elif (number, wire) == (_DATATYPE, _VARINT):
            datatype = value
    return {_FLOATS[datatype]: math.prod(dimensions)} if datatype in _FLOATS else {}


def _fields(stream: BinaryIO, end: int) -> Iterator[_Field]:
    """Yield the fields up to `end`; whatever the caller leaves unread of one is skipped. Raises EOFError."""
    while stream.tell() < end:
        key = _varint(stream)
        number, wire = key >> 3, key & 7
        value = 0
        if wire in (_VARINT, _BYTES):
            value = _varint(stream)
        elif wire in (_FIXED32, _FIXED64):
            value = 4 if wire == _FIXED32 else 8
        else:
            raise EOFError
        following = stream.tell() + (0 if wire == _VARINT else value)
        if following > end:
            raise EOFError
        yield number, wire, value
        stream.seek(following)


def _varint(stream: BinaryIO) -> int:
    value = 0
    for shift in range(0, _VARINT_BITS, 7):
        byte = stream.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:  # noqa: PLR2004  # the continuation bit
            return value
    raise EOFError
