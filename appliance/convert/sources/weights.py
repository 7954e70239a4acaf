"""Whether weights are numbers at all: every tensor is read once, before a library loads them.

Invariant: memory is bounded by _CHUNK_BYTES, whatever the size of the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.safetensors_header import StoredTensor, read_header
from appliance.convert.sources.source_files import open_source_file, refuse_unpulled

_CHUNK_BYTES = 4 * 1024 * 1024
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Bits:
    """A float type by its bits, since NumPy knows neither BF16 nor F8."""

    words: np.dtype[Any]
    not_finite: int  # all of these bits set: NaN or infinite
    magnitude: int  # none of these bits set: zero


_FLOATS = MappingProxyType(
    {
        "F64": _Bits(np.dtype("<u8"), 0x7FF0_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF),
        "F32": _Bits(np.dtype("<u4"), 0x7F80_0000, 0x7FFF_FFFF),
        "F16": _Bits(np.dtype("<u2"), 0x7C00, 0x7FFF),
        "BF16": _Bits(np.dtype("<u2"), 0x7F80, 0x7FFF),
        "F8_E4M3": _Bits(np.dtype("u1"), 0x7F, 0x7F),  # it has NaN but no infinity
        "F8_E5M2": _Bits(np.dtype("u1"), 0x7C, 0x7F),
        "F8_E8M0": _Bits(np.dtype("u1"), 0xFF, 0xFF),  # an exponent alone
    }
)


@dataclass(frozen=True, slots=True)
class WeightsSummary:
    """What the files hold."""

    tensors: int
    parameters: int  # elements of all tensors
    size_bytes: int  # of all tensors
    dtypes: Mapping[str, int]  # safetensors' word -> number of tensors, sorted


def check_weights(files: Sequence[Path]) -> WeightsSummary:
    """Read safetensors files to the end. Raises ConversionRefused for broken ones, NaN, infinities, and all zeros."""
    bad: dict[str, int] = {}
    found: list[StoredTensor] = []
    has_values = False
    for file in files:
        refuse_unpulled(file)
        with open_source_file(file) as stream:
            for tensor in read_header(stream, file):
                found.append(tensor)
                not_finite, not_zero = _count(stream, tensor)
                has_values = has_values or not_zero
                if not_finite:
                    bad[tensor.name] = not_finite
    refuse_unusable(bad, tensors=len(found), has_values=has_values)
    return _summary(found)


def refuse_unusable(not_finite: Mapping[str, int], *, tensors: int, has_values: bool) -> None:
    """Refuse weights by tensor name -> number of NaN and infinite values. Raises ConversionRefused."""
    if not tensors:
        raise _refused(Reason.NO_WEIGHTS, "the weights hold no tensors")
    if not_finite:
        shown = ", ".join(f"{name[:100]} ({count})" for name, count in list(not_finite.items())[:_SHOWN])
        more = " ..." if len(not_finite) > _SHOWN else ""
        raise _refused(
            Reason.NAN_WEIGHTS,
            f"{len(not_finite)} of {tensors} tensors hold NaN or infinite values: {shown}{more}",
        )
    if not has_values:
        raise _refused(
            Reason.VACUOUS, f"all weights are zero ({tensors} tensors): no comparison would prove anything"
        )


def _refused(reason: Reason, message: str) -> ConversionRefused:
    return ConversionRefused(
        reason, message, hint="train or save the model again, or copy the weights again and compare: sha256sum"
    )


def _count(stream: BinaryIO, tensor: StoredTensor) -> tuple[int, bool]:
    """Return how many values are NaN or infinite, and whether any is not zero; integers are never either."""
    bits = _FLOATS.get(tensor.dtype)
    if bits is None:
        return 0, False
    not_finite, has_values = 0, False
    for words in _chunks(stream, tensor, bits):
        not_finite += int(np.count_nonzero((words & bits.not_finite) == bits.not_finite))
        has_values = has_values or bool(np.any(words & bits.magnitude))
    return not_finite, has_values


def _chunks(stream: BinaryIO, tensor: StoredTensor, bits: _Bits) -> Iterator[npt.NDArray[Any]]:
    stream.seek(tensor.start)
    left = tensor.stop - tensor.start
    while left:
        wanted = min(left, _CHUNK_BYTES)
        data = stream.read(wanted)
        if len(data) < wanted:
            raise _refused(Reason.NO_WEIGHTS, f"{tensor.name[:100]} ended early: the file was changed meanwhile")
        left -= wanted
        yield np.frombuffer(data, bits.words)


def _summary(tensors: Sequence[StoredTensor]) -> WeightsSummary:
    dtypes = [tensor.dtype for tensor in tensors]
    return WeightsSummary(
        len(tensors),
        sum(int(np.prod(tensor.shape, dtype=object)) for tensor in tensors),
        sum(tensor.stop - tensor.start for tensor in tensors),
        {dtype: dtypes.count(dtype) for dtype in sorted(set(dtypes))},
    )
