"""Where each tensor lies inside one allocation. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from appliance.backends.cuda.memory import ALIGNMENT_BYTES
from appliance.backends.tensorrt.engine_layout import EngineLayout, EngineTensor, Shape
from appliance.model.tensor import element_count


@dataclass(frozen=True, slots=True)
class BufferPlan:
    """Places of tensors, none of them empty: TensorRT wants an address even for a tensor without elements."""

    offsets: Mapping[str, int]
    sizes: Mapping[str, int]  # bytes reserved
    total_bytes: int


def plan_buffer(sizes: Mapping[str, int]) -> BufferPlan:
    """Lay tensors of these sizes (bytes) one after the other, each aligned as TensorRT wants it."""
    offsets, position = {}, 0
    for name, size_bytes in sizes.items():
        offsets[name] = position
        position += max(1, -(-size_bytes // ALIGNMENT_BYTES)) * ALIGNMENT_BYTES
    return BufferPlan(MappingProxyType(offsets), MappingProxyType(dict(sizes)), position)


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
