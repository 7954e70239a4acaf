"""The FP16 form of a graph, for GPUs: weights and computation in FP16, inputs and outputs as they were.

Invariant: the file passes ONNX's full check, and the same source gives the same bytes.
"""

from pathlib import Path

import onnx

from appliance.convert.forms.finished_graph import write_finished
from appliance.convert.forms.onnxruntime_tools import to_fp16


def write_fp16(source: Path, target: Path, scratch: Path) -> None:
    """Write `source` in FP16 to `target`. Raises ConversionRefused."""
    model = to_fp16(source, scratch)
    _keep_each_cast_once(model.graph)
    write_finished(model, target)


def _keep_each_cast_once(graph: onnx.GraphProto) -> None:
    """A value that two FP32-only nodes read gets two casts of one name, which is no valid graph: keep the first."""
    made: set[str] = set()
    kept = []
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] in made:
            continue
        made.update(node.output)
        kept.append(node)
    if len(kept) == len(graph.node):
        return
    del graph.node[:]
    graph.node.extend(kept)
