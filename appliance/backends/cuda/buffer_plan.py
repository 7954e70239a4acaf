"""Where each tensor lies inside one allocation. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from appliance.backends.cuda.memory import ALIGNMENT_BYTES


@dataclass(frozen=True, slots=True)
class BufferPlan:
    """Places of tensors, none of them empty: TensorRT wants an address even for a tensor without elements."""

    offsets: Mapping[str, int]
    total_bytes: int


def plan_buffer(sizes: Mapping[str, int]) -> BufferPlan:
    """Lay tensors of these sizes (bytes) one after the other, each aligned as CUDA and TensorRT want it."""
    offsets, position = {}, 0
    for name, size_bytes in sizes.items():
        offsets[name] = position
        position += max(1, -(-size_bytes // ALIGNMENT_BYTES)) * ALIGNMENT_BYTES
    return BufferPlan(MappingProxyType(offsets), position)
