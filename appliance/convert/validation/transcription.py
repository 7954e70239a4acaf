"""How far two transcriptions are from each other: CTC's greedy reading, and the edit distance of the tokens."""

from collections.abc import Sequence

import numpy as np

from appliance.convert.samples import Array
from appliance.convert.validation.decisions import decide


def transcription_agreement(reference: Array, found: Array, blank_token: int) -> float:
    """1 - token error rate over all rows, never below 0. Both: logits [N, steps, tokens]."""
    own, other = decide(reference, found)
    texts = [
        (read_greedily(one, blank_token), read_greedily(two, blank_token))
        for one, two in zip(own, other, strict=True)
    ]
    edits = sum(edit_distance(one, two) for one, two in texts)
    length = sum(len(one) for one, _ in texts)
    if length == 0:
        return 0.0 if edits else 1.0
    return max(0.0, 1 - edits / length)


def read_greedily(steps: Array, blank_token: int) -> list[int]:
    """Join repeated tokens, then drop the blanks between them. steps: [steps]."""
    starts = np.ones(len(steps), dtype=bool)
    starts[1:] = steps[1:] != steps[:-1]
    tokens: list[int] = steps[starts & (steps != blank_token)].tolist()
    return tokens


def edit_distance(reference: Sequence[int], found: Sequence[int]) -> int:
    """Fewest insertions, deletions and replacements that make one the other (Levenshtein)."""
    tokens = np.asarray(found, dtype=np.int64)
    positions = np.arange(len(tokens) + 1)
    distances = positions
    for token in reference:
        best = distances + 1  # deleted
        best[1:] = np.minimum(best[1:], distances[:-1] + (tokens != token))
        # Insertions run along the row: each step to the right costs one.
        distances = np.minimum.accumulate(best - positions) + positions
    return int(distances[-1])
