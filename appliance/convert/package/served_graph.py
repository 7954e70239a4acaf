"""The graph that a package serves, as the box will see it: opened by ONNX Runtime from the chosen variant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from appliance.backends.onnxruntime import open_session, session_signature
from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.samples import Array
from appliance.model.identity import ModelName
from appliance.model.signature import ModelSignature

_CLASSES_RANK = 2  # [batch, classes]; a label names a class of a row, not of one of a row's many places


@dataclass(frozen=True, slots=True)
class ServedGraph:
    """One graph with the name and the limits under which it is served."""

    name: ModelName
    graph: Graph
    signature: ModelSignature
    max_batch_size: int  # 0: there is no batch axis that a server may use
    label_output: str  # the output whose classes the labels name; '' if none
    session: Any  # onnxruntime.InferenceSession

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Let ONNX Runtime compute all outputs."""
        names = [tensor.name for tensor in self.signature.outputs]
        return dict(zip(names, self.session.run(names, dict(inputs)), strict=True))


def open_served_graph(conversion: Conversion, graph: Graph) -> ServedGraph:
    """Open the chosen variant of one graph."""
    session = open_session(conversion.chosen.graphs[graph.name])
    signature = session_signature(session)
    return ServedGraph(
        name=package_name(conversion, graph),
        graph=graph,
        signature=signature,
        max_batch_size=largest_batch(graph, signature),
        label_output=_label_output(conversion.exported, signature),
        session=session,
    )


def package_name(conversion: Conversion, graph: Graph) -> ModelName:
    """Name the package of a graph: the model's own name, or 'NAME-encoder' and 'NAME-decoder'."""
    name = conversion.request.name
    return name if len(conversion.exported.graphs) == 1 else ModelName(f"{name}-{graph.name}")


def largest_batch(graph: Graph, signature: ModelSignature) -> int:
    """Return how many rows a server may join, 0 if some tensor has no free axis 0 or rows depend on each other."""
    tensors = (*(tensor for tensor in signature.inputs if not tensor.optional), *signature.outputs)
    if not graph.batched or any(tensor.shape[:1] != (-1,) for tensor in tensors):
        return 0
    return min((profile.max[0] for profile in graph.profiles.values() if profile.max), default=0)


def _label_output(exported: ExportedModel, signature: ModelSignature) -> str:
    ranks = {tensor.name: len(tensor.shape) for tensor in signature.outputs}
    named = exported.label_output if exported.labels else ""
    return named if 0 < ranks.get(named, 0) <= _CLASSES_RANK else ""
