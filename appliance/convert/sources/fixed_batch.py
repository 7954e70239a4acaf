"""An ONNX file whose batch axis is fixed at one: freed where it is proved to answer several rows as it answers one.

Many exporters fix the axis because their example had one row. Nothing in the file says whether the graph depends on
it, so the freed graph is run on several rows and compared with the original, row by row.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx

from appliance.backends.onnxruntime import open_session
from appliance.convert.exported_model import Reference
from appliance.convert.samples import Sample
from appliance.convert.sources.graph_file import GraphSignature, data_file, write_graph
from appliance.convert.sources.row_independence import close, join, row_by_row
from appliance.errors import ApplianceError

_BATCH = "batch"
_TRIED_ROWS = (1, 2, 3)


def is_fixed_at_one(signature: GraphSignature) -> bool:
    """Say whether axis 0 of everything is 1: most likely a batch, for which samples are rows."""
    return all(dims[:1] == (1,) for dims in (*signature.inputs.values(), *signature.outputs.values()))


def free_batch_axis(file: Path, reference: Reference, samples: Sequence[Sample]) -> bool:
    """Rewrite such a `file` with a free batch axis if that is proved to work, and say whether it was."""
    model = onnx.load(file)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    del model.graph.value_info[:]  # shapes in between, with the old axis
    freed = file.with_name("freed.onnx")
    write_graph(model, freed)
    works = _answers_row_by_row(freed, reference, samples)
    if works:
        write_graph(onnx.load(freed), file)  # loaded again: writing took large weights out of the model
    freed.unlink()
    data_file(freed).unlink(missing_ok=True)
    return works


def _answers_row_by_row(file: Path, reference: Reference, samples: Sequence[Sample]) -> bool:
    try:
        session = open_session(file)
    except ApplianceError:  # the graph contradicts the free axis
        return False
    names = [output.name for output in session.get_outputs()]
    for rows in _TRIED_ROWS:
        inputs = join(samples, rows)
        try:
            found = dict(zip(names, session.run(names, dict(inputs)), strict=True))
            wanted = row_by_row(reference)(inputs)
        except Exception:  # noqa: BLE001  (any failure is the answer to the question: it does not take several rows)
            return False
        if not close(found, wanted):
            return False
    return True
