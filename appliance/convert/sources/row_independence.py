"""Whether requests to a model may be joined: found by comparing joined rows with single ones.

A first axis that is free in a file may be anything. Joining strangers' requests along it is right only if each row is
answered as if it were alone, and no export says so.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from appliance.convert.exported_model import Reference
from appliance.convert.precision import Form
from appliance.convert.refusal import ConversionRefused
from appliance.convert.samples import Array, Batch, Sample
from appliance.convert.sources.batches import make_batch
from appliance.convert.task import Task
from appliance.convert.validation.metrics import difference
from appliance.convert.validation.tolerances import tolerance

_JOINED_ROWS = 3  # enough to see another row's influence
_RELATIVE_ERROR = 1e-3  # of the largest value: sums in another order, not another result
_RELATIVE_ERROR_FP16 = 2e-2


def largest_batch(reference: Reference, samples: Sequence[Sample], most: int) -> int:
    """Return the largest batch that the source takes, at most `most`; 0 if its rows are not independent."""
    if most == 1:
        return 1
    alike = _alike(samples)
    largest = _largest_taken(reference, alike, most)
    joined = min(_JOINED_ROWS, largest)
    if joined == 1 or not _independent(reference, alike, joined):
        return 0
    return largest


def answers_rows_alone(task: Task, reference: Reference, batches: Sequence[Batch]) -> bool:
    """Say whether a model answers each row of a batch as it answers it alone, by the metric of its task."""
    batch = next((batch for batch in batches if batch.size > 1), None)
    if batch is None:
        return True
    joined, alone = reference(batch.inputs), row_by_row(reference)(batch.inputs)
    try:
        return difference(task, alone, joined, inputs=batch.inputs).within(tolerance(task, Form.FP32))
    except ConversionRefused:  # the outputs do not have the same shapes
        return False


def row_by_row(reference: Reference) -> Reference:
    """Answer a batch by asking for each row alone."""

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        rows = range(len(next(iter(inputs.values()))))
        answers = [reference({name: array[row : row + 1] for name, array in inputs.items()}) for row in rows]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    return run


def close(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> bool:
    """Say whether two answers are the same up to rounding."""
    return all(_close(found[name], wanted[name]) for name in wanted)


def join(samples: Sequence[Sample], rows: int) -> Mapping[str, Array]:
    """Join samples of one shape to this many rows, in turn."""
    return make_batch([samples[row % len(samples)] for row in range(rows)]).inputs


def _alike(samples: Sequence[Sample]) -> list[Sample]:
    """Samples of the first one's shape: joining others would pad them."""
    return [sample for sample in samples if _shapes(sample) == _shapes(samples[0])]


def _shapes(sample: Sample) -> list[tuple[int, ...]]:
    return [array.shape for array in sample.inputs.values()]


def _largest_taken(reference: Reference, samples: Sequence[Sample], most: int) -> int:
    """Bisect: programs and exports may have a limit of their own, which nothing but a trial tells."""
    if _takes(reference, samples, most):
        return most
    taken, refused = 1, most
    while refused - taken > 1:
        middle = (taken + refused) // 2
        if _takes(reference, samples, middle):
            taken = middle
        else:
            refused = middle
    return taken


def _takes(reference: Reference, samples: Sequence[Sample], rows: int) -> bool:
    try:
        reference(join(samples, rows))
    except Exception:  # noqa: BLE001  (any failure is the answer to the question: the source does not take it)
        return False
    return True


def _independent(reference: Reference, samples: Sequence[Sample], rows: int) -> bool:
    inputs = join(samples, rows)
    try:
        return close(reference(inputs), row_by_row(reference)(inputs))
    except Exception:  # noqa: BLE001  (a row that the source does not take alone, answers that have no rows to join)
        return False


def _close(found: Array, wanted: Array) -> bool:
    if found.shape != wanted.shape:
        return False
    if wanted.dtype.kind != "f" or not wanted.size:
        return bool(np.array_equal(found, wanted))
    scale = float(np.max(np.abs(wanted), where=np.isfinite(wanted), initial=0))
    relative = _RELATIVE_ERROR_FP16 if wanted.dtype == np.float16 else _RELATIVE_ERROR
    return bool(np.allclose(found, wanted, rtol=0, atol=relative * scale, equal_nan=True))
