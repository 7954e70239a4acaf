"""A tensor from a file that a person has: .npy, .json, or a picture.

The file must hold the datatype that the model wants; only an explicit cast converts. What is done to the data beyond
reading (a batch dimension, another size of a picture) is told, never silent.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.cli.bfloat16 import bits_of
from appliance.cli.json_tensor import array_of_json
from appliance.cli.pictures import PICTURE_SUFFIXES, read_picture
from appliance.errors import InvalidInput, NotFound
from appliance.model.datatype import Datatype
from appliance.model.tensor import format_shape, object_array

Array = npt.NDArray[Any]
Tell = Callable[[str], None]

SUFFIXES = (".npy", ".json", *PICTURE_SUFFIXES)
_NUMBERS = "biuf"


@dataclass(frozen=True, slots=True)
class WantedTensor:
    """What the model takes under one name; `shape` is without the batch dimension, -1 is any size."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    batched: bool
    channels_last: bool  # the configuration says so

    @property
    def described(self) -> str:
        """For people: `image FP32 [-1,1,8,8]`."""
        return f"{self.name} {self.datatype.wire_name} {format_shape(self.full_shape)}"

    @property
    def full_shape(self) -> tuple[int, ...]:
        """With the batch dimension, if there is one."""
        return (-1, *self.shape) if self.batched else self.shape


def read_tensor(path: Path, wanted: WantedTensor, tell: Tell, *, cast: bool) -> Array:
    """Read a file as the tensor that is wanted, batch on axis 0 if the model batches.

    Raises InvalidInput or NotFound, naming the file.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInput(f"{path}: files of this kind cannot be read, expected one of {', '.join(SUFFIXES)}")
    try:
        if suffix == ".npy":
            array = _of_datatype(_read_npy(path), wanted, path, tell, cast=cast)
        elif suffix == ".json":
            array = array_of_json(_read_json(path), wanted.datatype, str(path))
        else:
            array = read_picture(path, wanted.shape, wanted.datatype, tell, channels_last=wanted.channels_last)
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist", hint="check the name of the file: ls") from error
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror or error}") from error
    return _with_batch(array, wanted, path, tell)


def _read_npy(path: Path) -> Array:
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InvalidInput(
            f"{path} is not an array that can be read: {error}", hint="write it with: numpy.save(FILE, array)"
        ) from error
    if not isinstance(loaded, np.ndarray):
        raise InvalidInput(f"{path} is a .npz archive, expected one array", hint="write it with: numpy.save")
    return loaded


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not valid JSON: {error}") from error


def _of_datatype(array: Array, wanted: WantedTensor, path: Path, tell: Tell, *, cast: bool) -> Array:
    exact = _exactly(array, wanted.datatype)
    if exact is not None:
        return exact
    found, expected = _datatype_name(array), wanted.datatype.wire_name
    if not cast:
        raise InvalidInput(
            f"{path} holds {found}, but input '{wanted.name}' expects {expected}",
            hint="convert it on the way with --cast, or save it with the right dtype",
        )
    if array.dtype.kind not in _NUMBERS or wanted.datatype is Datatype.BYTES:
        raise InvalidInput(f"{path}: {found} cannot be converted to {expected}")
    tell(f"{wanted.name}: converted from {found} to {expected}")
    return _converted(array, wanted.datatype, path)


def _exactly(array: Array, datatype: Datatype) -> Array | None:
    """Return the array if its values are of this datatype already; byte order does not matter."""
    if datatype is Datatype.BYTES:
        return _bytes_elements(array) if array.dtype.kind in "SU" else None
    if datatype is Datatype.BF16 and array.dtype == np.dtype("V2"):  # what ml_dtypes' bfloat16 is saved as
        return np.ascontiguousarray(array).view("<u2")
    if array.dtype.newbyteorder("<") != datatype.numpy:
        return None
    return array.astype(datatype.numpy, order="C", copy=False)


def _bytes_elements(array: Array) -> Array:
    elements = [text.encode() if isinstance(text, str) else bytes(text) for text in array.reshape(-1)]
    return object_array(elements).reshape(array.shape)


def _converted(array: Array, datatype: Datatype, path: Path) -> Array:
    if datatype is Datatype.BF16:
        return bits_of(array.astype(np.float32))
    if datatype.numpy.kind in "iu" and array.size:
        limits = np.iinfo(datatype.numpy)
        if not (np.isfinite(array).all() and limits.min <= array.min() and array.max() <= limits.max):
            raise InvalidInput(
                f"{path}: values from {array.min()} to {array.max()} do not fit into {datatype.wire_name}"
            )
    with np.errstate(over="ignore"):
        return array.astype(datatype.numpy)


def _datatype_name(array: Array) -> str:
    names = [datatype.wire_name for datatype in Datatype if array.dtype.newbyteorder("<") == datatype.numpy]
    return names[0] if names else "text" if array.dtype.kind in "SU" else str(array.dtype)


def _with_batch(array: Array, wanted: WantedTensor, path: Path, tell: Tell) -> Array:
    expected = len(wanted.full_shape)
    if wanted.batched and array.ndim == expected - 1:
        tell(f"{wanted.name}: one row, so {format_shape(array.shape)} becomes {format_shape((1, *array.shape))}")
        return array[np.newaxis]
    if array.ndim != expected:
        raise InvalidInput(
            f"{path} has shape {format_shape(array.shape)}, but input '{wanted.name}' expects "
            f"{format_shape(wanted.full_shape)}{' (the first dimension is the batch)' if wanted.batched else ''}"
        )
    return array
