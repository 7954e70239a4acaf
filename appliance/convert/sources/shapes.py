"""Which shapes an exported graph takes: found by trying them on the source and on the graph.

Exporters call many axes dynamic that are not (a ViT has one picture size, whatever its file says). An axis on which
the source or the graph refuses another size is fixed in the file, so that a server can refuse it too, in clear words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.backends.onnxruntime import open_session
from appliance.convert.exported_model import Reference
from appliance.convert.samples import Array, Batch, Sample
from appliance.convert.sources.batches import describe, in_turn, make_batch, sizes_for
from appliance.convert.sources.graph_file import Dim, GraphSignature
from appliance.model.engine import ShapeRange

TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_PICTURES = "pixel_values"
_WAVES = "input_values"
_LARGER_BY = 32  # pixels: a multiple of the patch and stride of common models
_RANK_OF_WAVES = 2


@dataclass(frozen=True, slots=True)
class ShapeRules:
    """What is known before trying. max_tokens: of one text."""

    max_batch_size: int
    max_tokens: int
    pad_token: int
    batched: bool = True  # all inputs and outputs have the same batch axis
    one_picture_size: bool = False  # the image processor makes no other: others may run, but were never meant


@dataclass(frozen=True, slots=True)
class Shapes:
    """What was found. fixed: input -> axis -> size."""

    fixed: Mapping[str, Mapping[int, int]]
    batches: Sequence[Batch]
    profiles: Mapping[str, ShapeRange]


def find_shapes(
    file: Path, signature: GraphSignature, samples: Sequence[Sample], reference: Reference, rules: ShapeRules
) -> Shapes:
    """Try other sizes of texts, pictures and sounds, and make the batches that the validation compares."""
    groups = in_turn(samples, sizes_for(len(samples), rules.max_batch_size))
    batches = [make_batch(group, pad_token=rules.pad_token) if rules.batched else _mixed(group) for group in groups]
    tried = [
        Batch(describe(inputs), 1, inputs)
        for inputs in _other_sizes(signature, samples[0], rules)
        if _both_take(file, reference, inputs)
    ]
    fixed = _fixed_axes(signature, samples, tried, rules)
    return Shapes(fixed, [*batches, *tried], _profiles(signature, samples, tried, rules))


def _mixed(samples: Sequence[Sample]) -> Batch:
    """The pictures of all samples and the texts of the last: each has a batch axis of its own."""
    pictures, texts = make_batch(samples).inputs, samples[-1].inputs
    inputs = {name: texts[name] if name in TEXT_INPUTS else pictures[name] for name in texts}
    return Batch(describe({name: inputs[name] for name in inputs if name not in TEXT_INPUTS}), 1, inputs)


def _other_sizes(signature: GraphSignature, sample: Sample, rules: ShapeRules) -> list[dict[str, Array]]:
    found = []
    if "input_ids" in sample.inputs and _is_free(signature.inputs["input_ids"], 1):
        found.append(_with_length(sample, rules.max_tokens))
    if _PICTURES in sample.inputs and _is_free(signature.inputs[_PICTURES], 2) and not rules.one_picture_size:
        found.append(_with_larger_picture(sample))
    if _WAVES in sample.inputs and sample.inputs[_WAVES].ndim == _RANK_OF_WAVES:
        shorter = sample.inputs[_WAVES][:, : sample.inputs[_WAVES].shape[1] * 3 // 4]
        found.append({**sample.inputs, _WAVES: np.ascontiguousarray(shorter)})
    return found


def _is_free(dims: Sequence[Dim], axis: int) -> bool:
    return isinstance(dims[axis], str)


def _with_length(sample: Sample, tokens: int) -> dict[str, Array]:
    inputs = dict(sample.inputs)
    for name in TEXT_INPUTS:
        if name in inputs:
            repeats = -(-tokens // inputs[name].shape[1])
            inputs[name] = np.ascontiguousarray(np.tile(inputs[name], (1, repeats))[:, :tokens])
    if "position_ids" in inputs:
        inputs["position_ids"] = np.arange(tokens, dtype=np.int64)[None]
    return inputs


def _with_larger_picture(sample: Sample) -> dict[str, Array]:
    inputs = dict(sample.inputs)
    for name, array in sample.inputs.items():
        if name.startswith("pixel_"):  # pixel_values [N, C, H, W] and pixel_mask [N, H, W]
            margin = [(0, 0)] * (array.ndim - 2) + [(0, _LARGER_BY), (0, _LARGER_BY)]
            inputs[name] = np.pad(array, margin, mode="edge")
    return inputs


def _both_take(file: Path, reference: Reference, inputs: Mapping[str, Array]) -> bool:
    """Say whether source and graph compute this shape, and agree on the shapes of the answer."""
    try:
        wanted = reference(inputs)
    except Exception:  # noqa: BLE001  (any failure is the answer to the question: the source does not take it)
        return False
    session = open_session(file, intra_op_threads=1)
    names = [output.name for output in session.get_outputs()]
    try:
        found = session.run(names, dict(inputs))
    except Exception:  # noqa: BLE001  (as above: the graph does not take it)
        return False
    return all(array.shape == wanted[name].shape for name, array in zip(names, found, strict=True))


def _fixed_axes(
    signature: GraphSignature, samples: Sequence[Sample], tried: Sequence[Batch], rules: ShapeRules
) -> dict[str, dict[int, int]]:
    """Axes that are free in the file but not in truth. The batch axis, and tokens up to the limit, stay free."""
    fixed: dict[str, dict[int, int]] = {}
    for name, dims in signature.inputs.items():
        compared = [each.inputs for each in tried] + [each.inputs for each in samples]
        shapes = {inputs[name].shape[1:] for inputs in compared}
        for axis in range(1, len(dims)):
            varies = len({shape[axis - 1] for shape in shapes}) > 1
            if _is_free(dims, axis) and not varies and not (name in TEXT_INPUTS and rules.max_tokens > 1):
                fixed.setdefault(name, {})[axis] = samples[0].inputs[name].shape[axis]
    return fixed


def _profiles(
    signature: GraphSignature,
    samples: Sequence[Sample],
    tried: Sequence[Batch],
    rules: ShapeRules,
) -> dict[str, ShapeRange]:
    """From the smallest to the largest shape that was compared; texts begin at one token."""
    profiles = {}
    most = rules.max_batch_size
    for name, dims in signature.inputs.items():
        if not dims:
            profiles[name] = ShapeRange((), (), ())
            continue
        shapes = [sample.inputs[name].shape for sample in samples] + [batch.inputs[name].shape for batch in tried]
        axes = list(zip(*shapes, strict=True))[1:]
        smallest, largest = [min(axis) for axis in axes], [max(axis) for axis in axes]
        usual = [sorted(axis)[len(axis) // 2] for axis in axes]
        if name in TEXT_INPUTS and _is_free(dims, 1):
            smallest[0] = 1
        batch = (1, min(4, most), most) if _is_free(dims, 0) else (samples[0].inputs[name].shape[0],) * 3
        profiles[name] = ShapeRange((batch[0], *smallest), (batch[1], *usual), (batch[2], *largest))
    return profiles
