"""A graph that takes arrays as they are, with batches of its samples."""

from collections.abc import Sequence
from pathlib import Path

from appliance.convert.exported_model import Graph, Reference
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Sample
from appliance.convert.sources.graph_file import read_signature
from appliance.convert.sources.shapes import ShapeRules, find_shapes


def tensor_graph(
    file: Path,
    reference: Reference,
    samples: Sequence[Sample],
    calibration: Sequence[Sample],
    request: ConversionRequest,
) -> Graph:
    """Describe the graph in `file`. Its batch axis counts only if every input and output has the same one."""
    signature = read_signature(file)
    firsts = {dims[0] if dims else 0 for dims in (*signature.inputs.values(), *signature.outputs.values())}
    batched = len(firsts) == 1 and isinstance(next(iter(firsts)), str)
    rules = ShapeRules(request.max_batch_size if batched else 1, max_tokens=1, pad_token=0, batched=batched)
    shapes = find_shapes(file, signature, samples, reference, rules)
    return Graph(
        "model", file, reference, samples, shapes.batches, shapes.profiles, batched=batched, calibration=calibration
    )
