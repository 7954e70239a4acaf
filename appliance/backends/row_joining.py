"""Rows of several requests, joined where a runtime reads them. Pure: NumPy only."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from appliance.backends.base import Array
from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.tensor import format_shape

Parts = Sequence[Mapping[str, Array]]
Shape = tuple[int, ...]


def joined_shapes(
    parts: Parts, datatypes: Mapping[str, Datatype], *, without_rows: Collection[str] = ()
) -> dict[str, Shape]:
    """Return the shape of each input when the parts lie one after the other on axis 0.

    datatypes: of the inputs that each part must have. without_rows: inputs that must be the same in all parts.
    Raises InvalidInput if an input is missing or unknown, has another type, or cannot be joined.
    """
    for part in parts:
        if part.keys() != datatypes.keys():
            raise InvalidInput(f"inputs are {sorted(part)}, expected {sorted(datatypes)}")
    shapes = {}
    for name, datatype in datatypes.items():
        arrays = [part[name] for part in parts]
        _check_types(name, datatype, arrays)
        shapes[name] = _common_shape(name, arrays) if name in without_rows else _joined_shape(name, arrays)
    return shapes


def write_joined(arrays: Sequence[Array], target: Array) -> None:
    """Copy all rows into `target`, which has the joined shape: the only copy between socket and GPU."""
    if len(arrays) == 1:
        np.copyto(target, arrays[0], casting="no")
        return
    row = 0
    for array in arrays:
        np.copyto(target[row : row + len(array)], array, casting="no")
        row += len(array)


def _check_types(name: str, datatype: Datatype, arrays: Sequence[Array]) -> None:
    for array in arrays:
        if array.dtype != datatype.numpy:
            raise InvalidInput(f"input '{name}': got {array.dtype}, expected {datatype.wire_name}")


def _joined_shape(name: str, arrays: Sequence[Array]) -> Shape:
    first = arrays[0].shape
    if len(arrays) == 1:
        return first
    for array in arrays:
        if array.ndim == 0 or array.shape[1:] != first[1:]:
            shapes = f"{format_shape(first)} and {format_shape(array.shape)}"
            raise InvalidInput(f"input '{name}': shapes {shapes} cannot be joined")
    return (sum(len(array) for array in arrays), *first[1:])


def _common_shape(name: str, arrays: Sequence[Array]) -> Shape:
    if any(not np.array_equal(array, arrays[0]) for array in arrays[1:]):
        raise InvalidInput(f"input '{name}': requests with different values cannot be joined")
    return arrays[0].shape
