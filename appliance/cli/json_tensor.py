"""Nested JSON lists as an array of one of the 14 datatypes: every value is checked, none is bent to fit."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.cli.bfloat16 import bits_of, values_of
from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.tensor import format_shape, object_array

Array = npt.NDArray[Any]


def array_of_json(document: Any, datatype: Datatype, where: str) -> Array:
    """Make an array of nested lists, row-major. Raises InvalidInput, naming the value that does not fit."""
    shape = _shape(document)
    values = [_checked(value, datatype, where) for value in _flattened(document, shape, where)]
    if datatype is Datatype.BYTES:
        return object_array(values).reshape(shape)
    if not _is_float(datatype):
        return np.array(values, dtype=datatype.numpy).reshape(shape)
    with np.errstate(over="ignore"):  # found below
        if datatype is Datatype.BF16:
            array = bits_of(np.array(values, dtype=np.float32))
            infinite = np.isinf(values_of(array))
        else:
            array = np.array(values, dtype=datatype.numpy)
            infinite = np.isinf(array)
    too_large = infinite & np.isfinite(np.array(values, dtype=np.float64))
    if too_large.any():
        raise InvalidInput(f"{where}: {values[int(too_large.argmax())]} is too large for {datatype.wire_name}")
    return array.reshape(shape)


def _shape(document: Any) -> tuple[int, ...]:
    shape = []
    while isinstance(document, list):
        shape.append(len(document))
        if not document:
            break
        document = document[0]
    return tuple(shape)


def _flattened(document: Any, shape: tuple[int, ...], where: str) -> Iterator[Any]:
    if not shape:
        if isinstance(document, list):
            raise InvalidInput(f"{where}: the lists are nested more deeply in one place than in another")
        yield document
        return
    if not isinstance(document, list) or len(document) != shape[0]:
        found = f"a list of {len(document)}" if isinstance(document, list) else repr(document)[:40]
        raise InvalidInput(f"{where}: the lists are not even: found {found}, expected {format_shape(shape)} there")
    for item in document:
        yield from _flattened(item, shape[1:], where)


def _checked(value: Any, datatype: Datatype, where: str) -> Any:
    match value:
        case str() if datatype is Datatype.BYTES:
            return value.encode()
        case bool() if datatype is Datatype.BOOL:
            return value
        case bool():
            pass
        case int() if datatype.numpy.kind in "iu" and datatype is not Datatype.BF16:
            limits = np.iinfo(datatype.numpy)
            if limits.min <= value <= limits.max:
                return value
        case int() | float() if _is_float(datatype):
            with contextlib.suppress(OverflowError):  # a whole number beyond every float
                return float(value)
    raise InvalidInput(f"{where}: {repr(value)[:60]} is not a value of {datatype.wire_name}")


def _is_float(datatype: Datatype) -> bool:
    return datatype is Datatype.BF16 or datatype.numpy.kind == "f"
