"""Triton's classification extension: an output as its best classes, `<value>:<index>[:<label>]`."""

import numpy as np
import numpy.typing as npt

from appliance.backends.base import Array
from appliance.errors import InvalidInput
from appliance.model.tensor import TensorSpec, object_array

LARGEST_OUTPUT = 1_000_000  # elements; Triton's limit


def classify(array: Array, spec: TensorSpec, count: int, *, batched: bool) -> npt.NDArray[np.object_]:
    """Return the `count` largest values per row: BYTES [batch, count] or [count].

    Values are written as C++'s std::to_string does. Raises InvalidInput above 1,000,000 elements.
    """
    if array.size > LARGEST_OUTPUT:
        raise InvalidInput(
            f"classification output tensor too large: '{spec.name}' has {array.size} elements, "
            f"at most {LARGEST_OUTPUT}"
        )
    rows = array.reshape(array.shape[0], -1) if batched else array.reshape(1, -1)
    count = min(count, rows.shape[1])
    texts = [_entry(row, index, spec) for row in rows for index in _largest(row, count)]
    result = object_array(texts)
    return result.reshape(rows.shape[0], count) if batched else result


def _largest(row: Array, count: int) -> Array:
    """Indices of the largest values, descending; the lower index first among equals, NaN last."""
    if row.dtype.kind == "f":
        keys = np.where(np.isnan(row), np.inf, -row)
        return np.argsort(keys, kind="stable")[:count]
    # Integers may not be negated without overflow: sort the reversed row upwards and turn it round.
    last = row.size - 1
    return (last - np.argsort(row[::-1], kind="stable")[::-1])[:count]


def _entry(row: Array, index: int, spec: TensorSpec) -> bytes:
    value = row[index]
    text = f"{float(value):.6f}" if row.dtype.kind == "f" else str(int(value))
    label = f":{spec.labels[index]}" if index < len(spec.labels) else ""
    return f"{text}:{index}{label}".encode()
