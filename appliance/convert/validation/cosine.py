"""Cosine of two outputs, of whole arrays and of the worst row."""

import numpy as np

from appliance.convert.samples import Array

_TOKEN_AXES = 3  # [N, tokens, size]: each token is a vector of its own


def cosine(reference: Array, found: Array) -> float:
    """Cosine of the flattened arrays; two of zeros point the same way, one of them to nowhere."""
    return float(row_cosines(reference.reshape(1, -1), found.reshape(1, -1))[0])


def smallest_row_cosine(reference: Array, found: Array) -> float:
    """Cosine of the worst vector.

    A vector is a row of [N, size], a token of [N, tokens, size], else all that belongs to one element of the batch.
    """
    size = reference.shape[-1] if reference.ndim == _TOKEN_AXES else int(np.prod(reference.shape[1:], dtype=int))
    cosines = row_cosines(reference.reshape(-1, max(size, 1)), found.reshape(-1, max(size, 1)))
    return float(cosines.min(initial=1.0))


def row_cosines(reference: Array, found: Array) -> Array:
    """Cosine of each pair of rows. Both: [rows, size]."""
    own, other = _unit(reference), _unit(found)
    cosines = np.clip((own * other).sum(axis=1), -1, 1)
    return np.where(own.any(axis=1) | other.any(axis=1), cosines, 1.0)


def _unit(rows: Array) -> Array:
    """Rows of length one. The largest value is divided out first: squares of 1e-200 would vanish."""
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    rows = rows / np.where(largest > 0, largest, 1)
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.where(length > 0, length, 1))
