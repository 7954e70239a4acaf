"""Batches for validation: samples joined to several sizes and lengths."""

from collections.abc import Mapping, Sequence

import numpy as np

from appliance.convert.samples import Array, Batch, Sample

_TEXT = "input_ids"  # padded with the tokenizer's own number, everything else with zeros


def make_batches(samples: Sequence[Sample], sizes: Sequence[int], *, pad_token: int = 0) -> list[Batch]:
    """Join samples, in turn, to batches of these sizes; shorter ones are padded at their end."""
    return [make_batch(group, pad_token=pad_token) for group in in_turn(samples, sizes)]


def in_turn(samples: Sequence[Sample], sizes: Sequence[int]) -> list[list[Sample]]:
    """Take groups of these sizes, one after the other, from the beginning again where the samples end."""
    groups, start = [], 0
    for size in sizes:
        groups.append([samples[(start + number) % len(samples)] for number in range(size)])
        start += size
    return groups


def sizes_for(count: int, largest: int) -> list[int]:
    """Return 1, 2 and the largest size, and that again until each of `count` samples has its turn."""
    sizes = sorted({1, min(2, largest), largest})
    missing = max(0, count - sum(sizes))
    return [*sizes, *[largest] * -(-missing // largest)]


def make_batch(samples: Sequence[Sample], *, pad_token: int = 0) -> Batch:
    """Join samples to one batch."""
    inputs = {
        name: _joined([sample.inputs[name] for sample in samples], pad_token if name == _TEXT else 0)
        for name in samples[0].inputs
    }
    return Batch(describe(inputs), len(samples), inputs)


def describe(inputs: Mapping[str, Array]) -> str:
    """Say the batch size and the other axes of the first input: 'batch 4, 3x224x224'."""
    shape = next(iter(inputs.values())).shape
    return f"batch {shape[0]}, {'x'.join(map(str, shape[1:])) or 'scalar'}" if shape else "scalar"


def _joined(arrays: Sequence[Array], padding: int) -> Array:
    if len(arrays) == 1:  # it may have no axis to join on
        return arrays[0]
    longest = tuple(max(array.shape[axis] for array in arrays) for axis in range(1, arrays[0].ndim))
    padded = [
        np.pad(
            array,
            [(0, 0), *((0, size - found) for size, found in zip(longest, array.shape[1:], strict=True))],
            constant_values=padding,
        )
        for array in arrays
    ]
    return np.concatenate(padded)
