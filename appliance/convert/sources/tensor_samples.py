"""Inputs for models that take arrays as they are: rows of the person's own files, or made numbers.

A folder holds `*.npz` (one sample each: input name -> array, without the batch axis where there is one), or, for a
model with one input, `*.npy` and `*.csv` whose rows are samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array, Sample
from appliance.convert.sources.graph_file import Dim

SAMPLES = 16  # made ones
_OWN_SAMPLES = 256  # read at most
_SUFFIXES = (".npz", ".npy", ".csv")
_UNKNOWN_AXIS = 16  # where the graph leaves an axis open and nobody brought samples
_LARGEST_INTEGER = 10  # made integers may be indexes into something
_SEED = 20240601


@dataclass(frozen=True, slots=True)
class TensorInput:
    """One input. shape: complete; an axis that varies has the name that the graph gives it."""

    name: str
    dtype: npt.DTypeLike
    shape: tuple[Dim, ...]

    @property
    def has_batch(self) -> bool:
        """Whether axis 0 is the batch."""
        return bool(self.shape) and isinstance(self.shape[0], str)

    @property
    def row(self) -> tuple[Dim, ...]:
        """Shape of one sample as people bring it."""
        return self.shape[1:] if self.has_batch else self.shape


def tensor_samples(
    inputs: Sequence[TensorInput], folder: Path | None, ranges: Mapping[str, tuple[Array, Array]] | None = None
) -> list[Sample]:
    """Read samples from `folder`, or make some. ranges: input -> (lowest, highest) of its made values."""
    if folder is not None:
        return _own(inputs, folder)
    return [_made(inputs, number, ranges or {}) for number in range(SAMPLES)]


def _made(inputs: Sequence[TensorInput], number: int, ranges: Mapping[str, tuple[Array, Array]]) -> Sample:
    random = np.random.default_rng(_SEED + number)
    batches = {each.shape[0] for each in inputs if each.has_batch}  # the same name elsewhere is the same size

    def size(dim: Dim) -> int:
        return dim if isinstance(dim, int) else 1 if dim in batches else _UNKNOWN_AXIS

    return Sample(
        f"made-{number}",
        {each.name: _values(each, tuple(map(size, each.shape)), random, ranges.get(each.name)) for each in inputs},
    )


def _values(
    wanted: TensorInput, shape: tuple[int, ...], random: np.random.Generator, limits: tuple[Array, Array] | None
) -> Array:
    dtype = np.dtype(wanted.dtype)
    if dtype.kind == "f":
        lowest, highest = limits if limits is not None else (np.zeros(()), np.ones(()))
        return np.asarray(lowest + random.random(shape) * (highest - lowest)).astype(dtype)
    if dtype.kind == "b":
        return np.asarray(random.integers(2, size=shape)).astype(dtype)
    if dtype.kind in "iu":
        return np.asarray(random.integers(_LARGEST_INTEGER, size=shape)).astype(dtype)
    raise _refused(f"input '{wanted.name}' takes {dtype}, for which nothing can be made")


def _own(inputs: Sequence[TensorInput], folder: Path) -> list[Sample]:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    except OSError as error:
        raise _refused(f"{folder} cannot be read: {error.strerror}") from error
    if not files:
        raise _refused(f"{folder} holds no arrays ({', '.join(_SUFFIXES)})")
    return [sample for path in files for sample in _samples_of(path, inputs)][:_OWN_SAMPLES]


def _samples_of(path: Path, inputs: Sequence[TensorInput]) -> list[Sample]:
    try:
        if path.suffix.lower() == ".npz":
            return [Sample(path.stem, _from_archive(path, inputs))]
        if len(inputs) != 1:
            raise _refused(f"{path}: the model takes {len(inputs)} inputs, expected .npz with an array for each")
        if path.suffix.lower() == ".csv":
            rows = np.loadtxt(path, delimiter=",", ndmin=2, max_rows=_OWN_SAMPLES)
        else:
            rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise _refused(f"{path} cannot be read: {error}") from error
    if not len(rows):
        raise _refused(f"{path} holds no rows")
    return [
        Sample(f"{path.stem}-{number}", {inputs[0].name: _fitting(path, row, inputs[0])})
        for number, row in enumerate(rows[:_OWN_SAMPLES])
    ]


def _from_archive(path: Path, inputs: Sequence[TensorInput]) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        missing = [each.name for each in inputs if each.name not in archive]
        if missing:
            found = ", ".join(archive.files) or "nothing"
            raise _refused(f"{path} holds {found}, expected an array for each of: {', '.join(missing)}")
        return {each.name: _fitting(path, archive[each.name], each) for each in inputs}


def _fitting(path: Path, values: Any, wanted: TensorInput) -> Array:
    shape = np.shape(values)
    fits = len(shape) == len(wanted.row) and all(
        isinstance(expected, str) or expected == found for found, expected in zip(shape, wanted.row, strict=True)
    )
    if not fits:
        raise _refused(
            f"{path}: a row for input '{wanted.name}' has shape {list(shape)}, expected {list(wanted.row)}"
        )
    array = np.asarray(values).astype(wanted.dtype)
    array = array[None] if wanted.has_batch else array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _refused(f"{path} holds NaN or infinity, expected finite values")
    return array


def _refused(message: str) -> ConversionRefused:
    return ConversionRefused(
        Reason.SAMPLES, message, hint="bring arrays in the model's shapes: appliance convert ... --samples DIR"
    )
