"""The same inputs through the source and through an ONNX file, as a box would run it; and what follows from it.

Invariant: a file that was not compared, or whose source computes nothing, is refused like one that is wrong.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from appliance.backends.onnx_reasons import short_reason
from appliance.backends.onnxruntime import open_session
from appliance.convert.comparison import Comparison
from appliance.convert.exported_model import Graph
from appliance.convert.foreign_errors import refusing
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array, Batch
from appliance.convert.task import Task
from appliance.convert.validation.metrics import difference
from appliance.convert.validation.reading import Reading
from appliance.errors import InvalidInput

Tell = Callable[[str], None]

SMALLEST_MEANINGFUL = 1e-6  # below, rounding is all that could be compared
_NO_FACTS = Reading()


class ReferenceRuns:
    """Outputs of the source for the batches of each graph: each batch runs once, whatever number of files follow."""

    def __init__(self) -> None:
        self._outputs: dict[tuple[str, int], Mapping[str, Array]] = {}

    def outputs(self, graph: Graph, number: int) -> Mapping[str, Array]:
        """Return what the source gives for batch `number` of the graph. Raises ConversionRefused if it cannot run."""
        key = (graph.name, number)
        if key not in self._outputs:
            self._outputs[key] = _run_source(graph, graph.batches[number])
        return self._outputs[key]


def validate(
    graph: Graph,
    file: Path,
    task: Task,
    tell: Tell,
    *,
    runs: ReferenceRuns | None = None,
    reading: Reading = _NO_FACTS,
) -> list[Comparison]:
    """Compare a file with the source of its graph on every batch. Raises ConversionRefused if it does not run."""
    runs = runs or ReferenceRuns()
    session = _opened(file)
    comparisons = []
    for number, batch in enumerate(graph.batches):
        tell(f"comparing {graph.name} with its source: {batch.case} ({number + 1} of {len(graph.batches)})")
        expected = runs.outputs(graph, number)
        comparisons.append(_compared(graph, batch, expected, _run(session, graph, batch), task, reading))
    return comparisons


def require_meaningful(graph: Graph, runs: ReferenceRuns | None = None) -> None:
    """Refuse a source that answers NaN or all but zero: any file would agree with it. Raises ConversionRefused."""
    runs = runs or ReferenceRuns()
    largest = [
        _largest(graph, batch, name, array)
        for number, batch in enumerate(graph.batches)
        for name, array in runs.outputs(graph, number).items()
        if array.dtype.kind == "f" and array.size
    ]
    if largest and max(largest) < SMALLEST_MEANINGFUL:
        raise ConversionRefused(
            Reason.VACUOUS,
            f"{graph.name}: the largest output of the source is {max(largest):.1e}, expected at least "
            f"{SMALLEST_MEANINGFUL:.0e}: a comparison would prove nothing",
            hint="bring trained weights, or real inputs with --samples",
        )


def _largest(graph: Graph, batch: Batch, name: str, array: Array) -> float:
    finite = np.isfinite(array)
    if np.isnan(array).any() or not finite.any():
        raise ConversionRefused(
            Reason.NAN_WEIGHTS,
            f"{graph.name}, {batch.case}: the source itself answers {int((~finite).sum())} of {array.size} elements "
            f"of '{name}' with NaN or infinity",
            hint="bring weights that work in their own framework, then convert again",
        )
    return float(np.abs(array[finite]).max())


def _opened(file: Path) -> Any:
    try:
        return open_session(file, intra_op_threads=1)
    except InvalidInput as error:
        raise ConversionRefused(
            Reason.EXPORT_FAILED,
            error.message,
            hint="export the model with torch.export yourself, then: appliance convert MODEL.pt2",
        ) from error


def _run(session: Any, graph: Graph, batch: Batch) -> dict[str, Array]:
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, dict(batch.inputs)), strict=True))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        raise ConversionRefused(
            Reason.OUT_OF_TOLERANCE,
            f"{graph.name}, {batch.case}: the source computes this, ONNX Runtime does not: {short_reason(error)}",
            hint="convert again with samples of one shape: --samples DIR",
        ) from error


def _run_source(graph: Graph, batch: Batch) -> Mapping[str, Array]:
    def refusal(said: str) -> ConversionRefused:
        return ConversionRefused(
            Reason.SAMPLES,
            f"the source itself cannot compute {batch.case}: {said}",
            hint="bring inputs of shapes that it takes: appliance convert ... --samples DIR",
        )

    with refusing(refusal):
        return graph.reference(batch.inputs)


def _compared(
    graph: Graph,
    batch: Batch,
    expected: Mapping[str, Array],
    found: Mapping[str, Array],
    task: Task,
    reading: Reading,
) -> Comparison:
    try:
        measured = difference(task, expected, found, inputs=batch.inputs, reading=reading)
    except ConversionRefused as refused:
        where = f"{graph.name}, {batch.case}"
        raise ConversionRefused(refused.reason, f"{where}: {refused.message}", hint=refused.hint) from refused
    return Comparison(graph.name, batch.case, batch.size, batch.shapes, measured)
