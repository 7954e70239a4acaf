"""What comparing two runs of a model on the same inputs gave. Pure values."""

from collections.abc import Mapping
from dataclasses import dataclass

HISTOGRAM_DECADES = tuple(range(-12, 3))  # bin n counts absolute errors in [10**n, 10**(n+1)); zeros in the first


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a variant may be from the source."""

    relative_error: float  # largest
    cosine: float  # smallest
    agreement: float  # smallest


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the outputs of one run are from those of the source, over all outputs.

    relative_error is the largest absolute error of an output over the largest absolute value of its reference.
    agreement is the task's own metric, 1 where both say the same: share of equal top-1 classes, of matched boxes,
    mean IoU, 1 - word error rate, smallest cosine of embeddings, share of depths within 25 %.
    """

    absolute_error: float
    relative_error: float
    cosine: float
    agreement: float
    histogram: tuple[int, ...]  # of absolute errors, by HISTOGRAM_DECADES

    def within(self, tolerance: Tolerance) -> bool:
        """Say whether all three stay within their bounds; NaN never does."""
        return (
            self.relative_error <= tolerance.relative_error
            and self.cosine >= tolerance.cosine
            and self.agreement >= tolerance.agreement
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """One case of a validation."""

    graph: str  # 'model', or 'encoder' and 'decoder'
    case: str  # what people read: 'batch 4, 3x224x224'
    batch_size: int
    shapes: Mapping[str, tuple[int, ...]]  # of the inputs
    difference: Difference
