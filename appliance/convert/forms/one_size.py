"""Pictures and sounds of one size, where TensorRT takes no graph whose sizes vary.

The graph keeps its free axes, so that other runtimes serve every size; only the shapes of the engine are narrowed.
"""

from collections.abc import Callable
from dataclasses import replace

from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.forms.tensorrt_parser import ParserVerdict, check_tensorrt
from appliance.convert.sources.shapes import TEXT_INPUTS
from appliance.model.engine import ShapeRange

Tell = Callable[[str], None]


def narrowed_for_tensorrt(exported: ExportedModel, tell: Tell) -> ExportedModel:
    """Return the model with one size for each graph that TensorRT accepts only so; others stay as they are."""
    return replace(exported, graphs=[_narrowed(graph, tell) for graph in exported.graphs])


def _narrowed(graph: Graph, tell: Tell) -> Graph:
    one_size = {name: _one_size(name, shapes) for name, shapes in graph.profiles.items()}
    if one_size == graph.profiles:
        return graph
    tell(f"asking TensorRT's parser whether sizes of {graph.name} may vary")
    if check_tensorrt(graph.file, graph.profiles).verdict is not ParserVerdict.REFUSED:
        return graph
    if check_tensorrt(graph.file, one_size).verdict is not ParserVerdict.ACCEPTED:
        return graph  # its own refusal says more
    return replace(graph, profiles=one_size)


def _one_size(name: str, shapes: ShapeRange) -> ShapeRange:
    """Batches may still vary, and so may texts: padding them to one length is no choice of ours."""
    if name in TEXT_INPUTS:
        return shapes
    rest = shapes.opt[1:]
    return ShapeRange(*((*bound[:1], *rest) for bound in (shapes.min, shapes.opt, shapes.max)))
