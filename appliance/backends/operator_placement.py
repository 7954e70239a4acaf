"""Where ONNX Runtime put the operators of a graph, and what that means for who asked for a GPU. Pure.

Some operators belong on the CPU even then: those that compute shapes. Others are there because CUDA has no kernel for
them: the model works, and is slower than expected. But if what a GPU is for runs on the CPU, the GPU was not got.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# fmt: off
_SHAPES = frozenset((
    "Shape", "Size", "Gather", "Concat", "Unsqueeze", "Squeeze", "Slice", "Cast", "Constant", "ConstantOfShape",
    "Range", "Reshape", "Identity", "Expand", "Tile", "Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Neg", "Abs",
    "Floor", "Ceil", "Sqrt", "Where", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or",
    "ReduceProd", "ReduceMax", "ReduceMin", "ReduceSum", "NonZero", "ScatterND", "GatherND", "Split", "Transpose",
))
_HEAVY = frozenset((
    "Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention",
    "GroupQueryAttention", "Einsum", "FusedConv", "FusedMatMul", "FusedGemm", "MatMulNBits", "QLinearConv",
    "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger", "QAttention", "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat", "DynamicQuantizeLSTM",
))
# fmt: on


@dataclass(frozen=True, slots=True)
class PlacementVerdict:
    """`heavy`: operators on the CPU for which one takes a GPU. `note`: what a person should know, else empty."""

    heavy: tuple[str, ...]
    note: str


def judge_placement(operators: Mapping[str, Mapping[str, int]], wanted: str, fallback: str) -> PlacementVerdict:
    """Judge operators by provider: provider -> type -> how many."""
    on_cpu = {name: number for name, number in operators.get(fallback, {}).items() if name not in _SHAPES}
    if not on_cpu:
        return PlacementVerdict((), "")
    total = sum(number for counts in operators.values() for number in counts.values())
    most = sorted(on_cpu.items(), key=lambda item: (-item[1], item[0]))
    named = ", ".join(f"{number} {name}" for name, number in most[:5]) + (", ..." if len(most) > 5 else "")  # noqa: PLR2004
    note = (
        f"{sum(on_cpu.values())} of {total} operators run on the CPU, because {wanted} cannot compute them: {named}"
    )
    return PlacementVerdict(tuple(name for name, _ in most if name in _HEAVY), note)
