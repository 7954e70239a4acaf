"""How large the tensors of an engine are. Pure."""

from collections.abc import Mapping, Sequence

from appliance.backends.tensorrt.engine_layout import EngineLayout, EngineTensor, Shape
from appliance.model.tensor import element_count


def input_bytes(layout: EngineLayout) -> dict[str, int]:
    """Bytes of each input at the largest shape of any profile."""
    return {
        tensor.name: max(tensor_bytes(tensor, profile.shapes[tensor.name].max) for profile in layout.profiles)
        for tensor in layout.inputs
    }


def tensor_bytes(tensor: EngineTensor, shape: Shape) -> int:
    """Bytes of a tensor in this shape."""
    return element_count(shape) * tensor.datatype.size_bytes


def changed(shapes: Mapping[str, Shape], bound: Mapping[str, Shape]) -> Sequence[str]:
    """Names whose shape is not the one that is bound."""
    return [name for name, shape in shapes.items() if bound.get(name) != shape]
