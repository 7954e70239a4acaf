"""The decision after a validation: go on, or refuse with the numbers of the worst case."""

import math
from collections.abc import Sequence
from textwrap import fill

from appliance.convert.comparison import Comparison, Difference, Tolerance
from appliance.convert.refusal import ConversionRefused, Reason

_WIDTH = 72  # of a terminal's 80 columns, 'error: ' taken off
_SMALLEST_ALLOWANCE = 1e-12  # a bound of exactly 1 allows nothing, and is still divided by


def refuse_outside(comparisons: Sequence[Comparison], tolerance: Tolerance) -> None:
    """Raise ConversionRefused with the worst case if any comparison is outside its bounds, or if there is none."""
    outside = [each for each in comparisons if not each.difference.within(tolerance)]
    if comparisons and not outside:
        return
    if not comparisons:
        raise ConversionRefused(
            Reason.OUT_OF_TOLERANCE,
            "nothing was compared with the source, expected at least one batch",
            hint="name inputs to compare with: --samples DIR",
        )
    raise ConversionRefused(
        Reason.OUT_OF_TOLERANCE,
        _sentence(outside, len(comparisons), tolerance),
        hint="compare on your own inputs: appliance convert ... --samples DIR",
    )


def worst_case(comparisons: Sequence[Comparison], tolerance: Tolerance) -> Comparison:
    """Return the case that is farthest outside its bounds, measured in bounds; the first of equals."""
    return max(comparisons, key=lambda each: max(_excesses(each.difference, tolerance)))


def _sentence(outside: Sequence[Comparison], count: int, tolerance: Tolerance) -> str:
    worst = worst_case(outside, tolerance)
    found = worst.difference
    heading = (
        f"the ONNX file does not compute what the source computes: {len(outside)} of {count} "
        f"{'case' if count == 1 else 'cases'} outside tolerance; the worst is {worst.graph}, {worst.case}"
    )
    rows = [
        ("absolute error", found.absolute_error, ""),
        ("relative error", found.relative_error, f"expected at most {tolerance.relative_error:.9g}"),
        ("cosine", found.cosine, f"expected at least {tolerance.cosine:.9g}"),
        ("agreement", found.agreement, f"expected at least {tolerance.agreement:.9g}"),
    ]
    return "\n".join([fill(heading, _WIDTH), *(_line(*row) for row in rows)])


def _line(name: str, value: float, bound: str) -> str:
    # Nine digits: a value that misses its bound never reads as the bound itself.
    return f"  {name:<15} {value:<16.9g} {bound}".rstrip()


def _excesses(found: Difference, tolerance: Tolerance) -> list[float]:
    """How many times each allowance is used up; NaN is beyond all."""
    return [
        _used(found.relative_error, tolerance.relative_error),
        _used(1 - found.cosine, 1 - tolerance.cosine),
        _used(1 - found.agreement, 1 - tolerance.agreement),
    ]


def _used(error: float, allowance: float) -> float:
    if math.isnan(error):
        return math.inf
    return 0.0 if math.isinf(allowance) else error / max(allowance, _SMALLEST_ALLOWANCE)
