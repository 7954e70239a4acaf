"""The class that a model decides for, in two runs: what counts as the same decision."""

import numpy as np

from appliance.convert.samples import Array

# FP32 results of one model differ by 2 to 17 roundings of the row's largest value between PyTorch and ONNX Runtime,
# because they add the same products in another order. Two classes that are nearer to each other than this are tied:
# which one comes first says nothing about the conversion.
TIE = 16 * float(np.finfo(np.float32).eps)


def decide(reference: Array, found: Array, axis: int = -1) -> tuple[Array, Array]:
    """Return the class indices of both runs, `axis` removed; tied classes of the reference count as one.

    A single class is a yes or no: the sign, which is where a sigmoid passes one half.
    """
    if reference.shape[axis] == 1:
        return _signs(reference, found, axis)
    own, other = reference.argmax(axis), found.argmax(axis)
    best = _taken(reference, own, axis)
    tied = best - _taken(reference, other, axis) <= TIE * np.abs(reference).max(axis)
    return own, np.where(tied, own, other)


def best_two_tied(scores: Array) -> Array:
    """Say of each row of [N, classes] whether its best two classes are tied."""
    second, best = np.partition(scores, -2, axis=-1)[:, -2:].T
    return np.asarray(best - second <= TIE * np.abs(scores).max(-1))


def equal_share(reference: Array, found: Array) -> float:
    """Share of equal elements; nothing to compare is full agreement."""
    return mean_share(np.asarray(reference == found))


def mean_share(agreed: Array) -> float:
    """Share of true elements; nothing to compare is full agreement."""
    return float(np.mean(agreed)) if np.size(agreed) else 1.0


def mean_iou(reference: Array, found: Array, class_count: int) -> float:
    """Mean intersection over union of two maps of class indices, over the classes present in either."""
    both = np.bincount(reference[reference == found], minlength=class_count)
    union = np.bincount(reference.reshape(-1), minlength=class_count)
    union = union + np.bincount(found.reshape(-1), minlength=class_count) - both
    present = union > 0
    return mean_share(both[present] / union[present])


def _signs(reference: Array, found: Array, axis: int) -> tuple[Array, Array]:
    own, other = (reference > 0).squeeze(axis), (found > 0).squeeze(axis)
    tied = np.abs(reference).squeeze(axis) <= TIE * np.abs(reference).max(initial=0)
    return own.astype(np.intp), np.where(tied, own, other).astype(np.intp)


def _taken(values: Array, indices: Array, axis: int) -> Array:
    return np.take_along_axis(values, np.expand_dims(indices, axis), axis).squeeze(axis)
