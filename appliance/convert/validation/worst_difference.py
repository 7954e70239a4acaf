"""The worst of many comparisons: one line for a table, one histogram for a chart. Pure."""

from collections.abc import Sequence

import numpy as np

from appliance.convert.comparison import Comparison, Difference


def worst_difference(comparisons: Sequence[Comparison]) -> Difference | None:
    """Take the worst of each number (NaN is worst of all) and add the histograms up; None if there is nothing."""
    if not comparisons:
        return None
    each = [comparison.difference for comparison in comparisons]
    # np.max and np.min carry NaN along, the built-in ones drop it or not depending on the order.
    return Difference(
        absolute_error=float(np.max([one.absolute_error for one in each])),
        relative_error=float(np.max([one.relative_error for one in each])),
        cosine=float(np.min([one.cosine for one in each])),
        agreement=float(np.min([one.agreement for one in each])),
        histogram=tuple(sum(counts) for counts in zip(*(one.histogram for one in each), strict=True)),
    )
