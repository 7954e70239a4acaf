"""The header of a safetensors file: 8 bytes little-endian length, JSON, then the data.

Invariant: tensors that are returned lie one after the other and fill the data, so each byte is looked at once and
nothing lies outside the file. No library: the header of a file that nobody vouches for is judged before one opens it.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

from appliance.convert.refusal import ConversionRefused, Reason

_LENGTH = struct.Struct("<Q")
_LARGEST_HEADER_BYTES = 25_000_000  # 100 bytes for each of 250,000 tensors
_METADATA = "__metadata__"
ITEM_BYTES = MappingProxyType(
    {
        "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "U32": 4, "I32": 4, "U64": 8, "I64": 8,
        "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "F16": 2, "BF16": 2, "F32": 4, "F64": 8,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor lies; start and stop are bytes from the beginning of the file."""

    name: str
    dtype: str  # safetensors' word: 'F32', 'BF16'
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(stream: BinaryIO, file: Path) -> tuple[StoredTensor, ...]:
    """Read the tensors of a safetensors file, in the order in which they lie. Raises ConversionRefused."""
    size_bytes = stream.seek(0, 2)
    stream.seek(0)
    if size_bytes < _LENGTH.size:
        _refuse(file, f"has {size_bytes} bytes: too short for a safetensors file")
    (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
    if length > _LARGEST_HEADER_BYTES:
        _refuse(file, f"is no safetensors file: it announces a header of {length} bytes")
    start = _LENGTH.size + length
    if start > size_bytes:
        _refuse(file, f"is cut off: its header needs {start} bytes, found {size_bytes}")
    header = _parse(stream.read(length), file)
    tensors = [_tensor(name, entry, start, file) for name, entry in header.items() if name != _METADATA]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.stop))
    _refuse_gaps(tensors, start, size_bytes, file)
    return tuple(tensors)


def _parse(data: bytes, file: Path) -> dict[str, Any]:
    try:
        header = json.loads(data, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        _refuse(file, f"has a broken header: {error}", error)
    if not isinstance(header, dict):
        _refuse(file, f"has a broken header: found a {type(header).__name__}, expected an object")
    return header


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _tensor(name: str, entry: Any, data_start: int, file: Path) -> StoredTensor:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(stop)]}:
            pass
        case _:
            _refuse(file, f"says too little about {name[:100]!r}: expected dtype, shape and data_offsets")
    if dtype not in ITEM_BYTES:
        _refuse(file, f"holds {name[:100]!r} as {dtype[:20]!r}: expected one of {', '.join(ITEM_BYTES)}")
    if not all(type(size) is int and size >= 0 for size in shape):
        _refuse(file, f"gives {name[:100]!r} an impossible shape: {shape!r:.100}")
    needed = math.prod(shape) * ITEM_BYTES[dtype]
    if stop - start != needed:
        _refuse(file, f"holds {stop - start} bytes for {name[:100]!r}: {dtype} {shape!r:.100} needs {needed}")
    return StoredTensor(name, dtype, tuple(shape), data_start + start, data_start + stop)


def _refuse_gaps(tensors: list[StoredTensor], data_start: int, size_bytes: int, file: Path) -> None:
    end = data_start
    for tensor in tensors:
        if tensor.start != end:
            what = "overlaps another tensor" if tensor.start < end else "leaves bytes before it unexplained"
            _refuse(file, f"is broken: {tensor.name[:100]!r} {what}")
        end = tensor.stop
    if end > size_bytes:
        _refuse(file, f"is cut off: its tensors need {end} bytes, found {size_bytes}")
    if end < size_bytes:
        _refuse(file, f"is broken: {size_bytes - end} bytes after the last tensor")


def _refuse(file: Path, what: str, cause: Exception | None = None) -> NoReturn:
    raise ConversionRefused(
        Reason.NO_WEIGHTS, f"{file.name} {what}", hint=f"copy {file.name} again and compare its digest: sha256sum"
    ) from cause
