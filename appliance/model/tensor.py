"""What a tensor must look like, and the wire form of BYTES tensors (the only copy of that codec).

Shapes: a spec's shape never contains the batch dimension; -1 stands for any size. Data are row-major little-endian.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype

_LENGTH = struct.Struct("<I")
_MOST_SHOWN = 32  # axes of a shape


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model; `shape` is without the batch dimension, -1 is variable."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    optional: bool = False
    labels: tuple[str, ...] = ()

    def accepts(self, shape: Sequence[int]) -> bool:
        """Say whether `shape` (without the batch dimension) fits this spec."""
        return len(shape) == len(self.shape) and all(
            want in (-1, got) for want, got in zip(self.shape, shape, strict=True)
        )


def element_count(shape: Sequence[int]) -> int:
    """Multiply out a shape without ever overflowing (a hostile shape may hold 2^63-1)."""
    count = 1
    for size in shape:
        count *= size
    return count


def format_shape(shape: Sequence[int]) -> str:
    """Write a shape as Triton does: `[-1,16]`. Of a long one, which only a request can have, the beginning."""
    rest = f",... {len(shape)} in all" if len(shape) > _MOST_SHOWN else ""
    return "[" + ",".join(map(str, shape[:_MOST_SHOWN])) + rest + "]"


def decode_bytes(data: memoryview, count: int, where: str) -> npt.NDArray[np.object_]:
    """Read `count` elements of `<4-byte little-endian length><bytes>` into a flat object array.

    `where` names the tensor in errors: "inference input 'x' for model 'm'". Raises InvalidInput if the data hold
    fewer or more elements, or end inside a length or an element.
    """
    total = len(data)
    found: list[bytes] = []
    position = 0
    while position < total:
        if len(found) == count:
            raise InvalidInput(
                f"unexpected number of string elements {count + 1} for {where}, expecting {count}",
                hint="send exactly one length-prefixed element for each element of the shape",
            )
        if total - position < _LENGTH.size:
            raise InvalidInput(f"incomplete string length indicator for {where}")
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        if total - position < length:
            raise InvalidInput(f"incomplete string data for {where}: expected {length} bytes, got {total - position}")
        found.append(bytes(data[position : position + length]))
        position += length
    if len(found) != count:
        raise InvalidInput(f"expected {count} string elements for {where}, got {len(found)}")
    return object_array(found)


def encode_bytes(array: npt.NDArray[np.object_]) -> bytes:
    """Write an object array of bytes or str, row-major, as `<4-byte little-endian length><bytes>` each."""
    parts: list[bytes] = []
    for element in array.reshape(-1):
        data = element.encode() if isinstance(element, str) else bytes(element)
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)


def object_array(elements: Sequence[bytes]) -> npt.NDArray[np.object_]:
    """Make a flat object array without NumPy looking into the elements."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def split_rows(array: npt.NDArray[np.generic], rows: Sequence[int]) -> list[npt.NDArray[np.generic]]:
    """Cut axis 0 into views of `rows[i]` rows each."""
    ends = list(accumulate(rows))
    return [array[end - size : end] for end, size in zip(ends, rows, strict=True)]
