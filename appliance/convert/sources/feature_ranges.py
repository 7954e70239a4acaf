"""Where the features of a scikit-learn model's training data lay, for inputs that the converter makes itself."""

from typing import Any

import numpy as np

from appliance.convert.samples import Array


def feature_ranges(model: Any) -> tuple[Array, Array]:
    """Where the features of the training data lay, as far as the model remembers; else -3 to 3."""
    count = model.n_features_in_
    for part in parts(model):
        if hasattr(part, "data_min_"):
            return part.data_min_, part.data_max_
        if getattr(part, "mean_", None) is not None and getattr(part, "scale_", None) is not None:
            return part.mean_ - 3 * part.scale_, part.mean_ + 3 * part.scale_
        if hasattr(part, "support_vectors_") and part.support_vectors_.shape[1] == count:
            return part.support_vectors_.min(axis=0), part.support_vectors_.max(axis=0)
        if (limits := _thresholds(part, count)) is not None:
            return limits
    return np.full(count, -3.0), np.full(count, 3.0)


def _thresholds(part: Any, count: int) -> tuple[Array, Array] | None:
    """From the splits of trees: lowest and highest, with a margin beyond them."""
    trees = [tree.tree_ for tree in (part, *np.ravel(getattr(part, "estimators_", []))) if hasattr(tree, "tree_")]
    if not trees:
        return None
    features = np.concatenate([tree.feature for tree in trees])
    thresholds = np.concatenate([tree.threshold for tree in trees])
    lowest, highest = np.zeros(count), np.ones(count)
    for feature in range(count):
        own = thresholds[features == feature]
        if len(own):
            lowest[feature], highest[feature] = own.min() - 1, own.max() + 1
    return lowest, highest


def parts(model: Any) -> list[Any]:
    """Return the steps of a pipeline, or the model itself."""
    return [part for _, part in model.steps] if hasattr(model, "steps") else [model]
