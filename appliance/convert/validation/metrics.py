"""How far the outputs of two runs on the same inputs are from each other. Pure NumPy.

Invariant: what differs in names, shapes, types or NaN is refused, never averaged away.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from appliance.convert.comparison import HISTOGRAM_DECADES, Difference
from appliance.convert.samples import Array
from appliance.convert.task import Task
from appliance.convert.validation.agreement import EMBEDDINGS, agreement
from appliance.convert.validation.cosine import cosine, smallest_row_cosine
from appliance.convert.validation.detection import has_detections, match_detections
from appliance.convert.validation.output_pairs import OutputPairs, pair_outputs
from appliance.convert.validation.reading import Reading

_NO_INPUTS: Mapping[str, Array] = MappingProxyType({})
_NO_FACTS = Reading()
# Nobody reads what a model gives for padding, and INT8 leaves nothing of it: of MiniLM's cosine 0.99 it made 0.85.
_PADDED = (Task.TOKEN_CLASSIFICATION, Task.FEATURE_EXTRACTION)


def difference(
    task: Task,
    reference: Mapping[str, Array],
    found: Mapping[str, Array],
    *,
    inputs: Mapping[str, Array] = _NO_INPUTS,
    reading: Reading = _NO_FACTS,
) -> Difference:
    """Compare two runs. Raises ConversionRefused if their outputs cannot be compared at all.

    inputs: of these runs, for the mask of padding and to know a decoder by its tokens.
    """
    pairs = pair_outputs(reference, found)
    if task in _PADDED and "attention_mask" in inputs:
        pairs = pairs.of_tokens(inputs["attention_mask"] != 0)
    if task is Task.OBJECT_DETECTION and has_detections(pairs.reference):
        matched = match_detections(pairs.reference, pairs.found, reading.label_count)
        pairs = OutputPairs(matched.reference, matched.found, pairs.exact_shares)
        return _measured(pairs, matched.agreement)
    floats = agreement(task, pairs.reference, pairs.found, inputs, reading)
    return _measured(pairs, floats)


def _measured(pairs: OutputPairs, agreed: float) -> Difference:
    """Join all outputs: the worst of each number, and one histogram."""
    absolute, relative, histogram = [0.0], [0.0], np.zeros(len(HISTOGRAM_DECADES), dtype=np.int64)
    # The share of equal integers or texts is the cosine of their one-hot codes. An error of classes has no size.
    cosines = [1.0, *pairs.exact_shares.values()]
    for name, own in pairs.reference.items():
        errors = np.abs(pairs.found[name] - own)
        absolute.append(float(errors.max(initial=0)))
        relative.append(_relative(absolute[-1], float(np.abs(own).max(initial=0))))
        measure = smallest_row_cosine if name in EMBEDDINGS else cosine
        cosines.append(measure(own, pairs.found[name]))
        histogram += _histogram(errors)
    return Difference(
        absolute_error=max(absolute),
        relative_error=max(relative),
        cosine=min(cosines),
        agreement=min([agreed, *pairs.exact_shares.values()]),
        histogram=tuple(int(count) for count in histogram),
    )


def _relative(error: float, size: float) -> float:
    if size > 0:
        return error / size
    return 0.0 if error == 0 else float("inf")


def _histogram(errors: Array) -> Array:
    edges = 10.0 ** np.asarray(HISTOGRAM_DECADES, dtype=np.float64)
    bins = np.searchsorted(edges, errors.reshape(-1), side="right") - 1
    return np.bincount(np.clip(bins, 0, len(edges) - 1), minlength=len(edges))
