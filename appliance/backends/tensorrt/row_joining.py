"""Rows of several requests, joined where the engine reads them. Pure: NumPy only."""

from collections.abc import Mapping, Sequence

import numpy as np

from appliance.backends.base import Array
from appliance.backends.tensorrt.engine_layout import EngineTensor, Shape
from appliance.errors import InvalidInput
from appliance.model.tensor import format_shape

Parts = Sequence[Mapping[str, Array]]


def joined_shapes(parts: Parts, inputs: Sequence[EngineTensor]) -> dict[str, Shape]:
    """Return the shape of each input when the parts lie one after the other on axis 0.

    Raises InvalidInput if an input is missing or unknown, has another type, or cannot be joined.
    """
    expected = {tensor.name for tensor in inputs}
    for part in parts:
        if part.keys() != expected:
            raise InvalidInput(f"inputs are {sorted(part)}, the engine takes {sorted(expected)}")
    return {tensor.name: _joined_shape(tensor, [part[tensor.name] for part in parts]) for tensor in inputs}


def write_joined(arrays: Sequence[Array], target: Array) -> None:
    """Copy all rows into `target`, which has the joined shape: the only copy between socket and GPU."""
    if len(arrays) == 1 or target.ndim == 0:
        np.copyto(target, arrays[0], casting="no")
        return
    row = 0
    for array in arrays:
        np.copyto(target[row : row + len(array)], array, casting="no")
        row += len(array)


def _joined_shape(tensor: EngineTensor, arrays: Sequence[Array]) -> Shape:
    for array in arrays:
        if array.dtype != tensor.datatype.numpy:
            raise InvalidInput(f"input '{tensor.name}': got {array.dtype}, expected {tensor.datatype.wire_name}")
    first = arrays[0].shape
    if len(arrays) == 1:
        return first
    if tensor.on_host:
        return _common_shape(tensor, arrays)
    for array in arrays[1:]:
        if array.ndim == 0 or array.shape[1:] != first[1:]:
            shapes = f"{format_shape(first)} and {format_shape(array.shape)}"
            raise InvalidInput(f"input '{tensor.name}': shapes {shapes} cannot be joined")
    return (sum(len(array) for array in arrays), *first[1:])


def _common_shape(tensor: EngineTensor, arrays: Sequence[Array]) -> Shape:
    """Values that decide over shapes have no rows: those of all requests must be the same."""
    if any(not np.array_equal(array, arrays[0]) for array in arrays[1:]):
        raise InvalidInput(f"input '{tensor.name}': requests with different values cannot be joined")
    return arrays[0].shape
