"""Outputs of two runs, made comparable or refused: what cannot be compared must never count as agreement."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array
from appliance.convert.validation.decisions import best_two_tied, mean_share

_TOKEN_AXES = 3
_SCORES_AXES = 2
_HINT = "export the model with torch.export yourself, then: appliance convert MODEL.pt2"


@dataclass(frozen=True, slots=True)
class OutputPairs:
    """Both runs by output. Numbers are finite float64; infinities on which both agree became the largest others."""

    reference: Mapping[str, Array]
    found: Mapping[str, Array]
    exact_shares: Mapping[str, float]  # of the other outputs, which are integers, truth values or text

    def of_tokens(self, real: Array) -> "OutputPairs":
        """Keep the real tokens of what has a vector for each: [N, tokens, size] -> [real tokens, size]."""

        def kept(array: Array) -> Array:
            return array[real] if array.ndim == _TOKEN_AXES and array.shape[:2] == real.shape else array

        return OutputPairs(
            {name: kept(array) for name, array in self.reference.items()},
            {name: kept(array) for name, array in self.found.items()},
            self.exact_shares,
        )


def pair_outputs(reference: Mapping[str, Array], found: Mapping[str, Array]) -> OutputPairs:
    """Pair outputs by name. Raises ConversionRefused for other names, shapes or types, NaN and infinities."""
    if set(reference) != set(found):
        raise _refused("the outputs", ", ".join(sorted(found)) or "none", ", ".join(sorted(reference)) or "none")
    own, other, exact = {}, {}, {}
    for name in reference:
        one, two = np.asarray(reference[name]), np.asarray(found[name])
        _check_form(name, one, two)
        if one.dtype.kind == "f":
            own[name], other[name] = _finite(name, one.astype(np.float64), two.astype(np.float64))
        else:
            exact[name] = (one, two)
    return OutputPairs(own, other, {name: _exact_share(*pair, own.values()) for name, pair in exact.items()})


def _check_form(name: str, one: Array, two: Array) -> None:
    if one.shape != two.shape:
        raise _refused(f"the shape of output '{name}'", str(list(two.shape)), str(list(one.shape)))
    if _kind(one) != _kind(two):
        raise _refused(f"the type of output '{name}'", str(two.dtype), str(one.dtype))


def _kind(array: Array) -> str:
    names = {"f": "number", "i": "integer", "u": "integer", "b": "integer"}
    return names.get(array.dtype.kind, "text")


def _finite(name: str, one: Array, two: Array) -> tuple[Array, Array]:
    if np.isnan(one).any():
        raise _refused(
            f"output '{name}' of the source", f"NaN in {int(np.isnan(one).sum())} of {one.size}", "numbers"
        )
    infinite = np.isinf(one)
    broken = np.where(infinite, two != one, ~np.isfinite(two))
    if broken.any():
        place = int(np.flatnonzero(broken)[0])
        raise _refused(
            f"output '{name}', element {place}",
            f"{two.reshape(-1)[place]} ({int(broken.sum())} of {one.size} are such)",
            f"{one.reshape(-1)[place]:.6g}",
        )
    if not infinite.any():
        return one, two
    # A mask of -inf must not become a class of its own size, nor swallow every difference.
    low, high = one[~infinite].min(initial=0), one[~infinite].max(initial=0)
    own = np.nan_to_num(one, posinf=high, neginf=low)
    return own, np.where(infinite, own, two)


def _exact_share(one: Array, two: Array, scores: Iterable[Array]) -> float:
    """Share of equal elements. Of a class for each row, the rows count as equal whose best two scores are tied."""
    rows = one.shape[0] if one.size and one.size == one.shape[0] else None
    if _kind(one) == "text":
        one, two = (np.asarray([_text(each) for each in array.reshape(-1)], dtype=object) for array in (one, two))
    equal = np.asarray(one == two)
    for score in scores:
        if score.ndim == _SCORES_AXES and score.shape[0] == rows and score.shape[1] > 1:
            equal = equal.reshape(-1) | best_two_tied(score)
    return mean_share(equal)


def _text(element: object) -> str:
    return element.decode("utf-8", "replace") if isinstance(element, bytes) else str(element)


def _refused(what: str, found: str, expected: str) -> ConversionRefused:
    return ConversionRefused(Reason.OUT_OF_TOLERANCE, f"{what}: found {found}, expected {expected}", hint=_HINT)
