"""Golden samples of a converted package: inputs, and what the source itself (not ONNX Runtime) answers to them.

The tolerance, for all outputs alike, is what the chosen variant keeps with a margin:
    atol = 4 times the largest absolute error that its validation found, at least `scale` of the largest output;
    rtol and `scale` are what another machine's arithmetic may add: see _ARITHMETIC.
Invariant: a sample is written only if the chosen variant answered it here as the tolerance wants, and with the
source's own label; so a self-test that fails on a box shows that something is different there.
"""

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from appliance.convert.conversion import Conversion
from appliance.convert.package.served_graph import ServedGraph
from appliance.convert.package.toml_text import inline_table, quoted
from appliance.convert.precision import Target
from appliance.convert.samples import Array, Sample
from appliance.convert.validation.detection import has_detections, match_detections

MOST_SAMPLES = 4
MOST_TRIED = 8  # more than are wanted, since one that the chosen variant answers otherwise is left out
MOST_BYTES = 16 * 1024 * 1024  # of all arrays; the first sample is always taken
_MARGIN = 4.0


@dataclass(frozen=True, slots=True)
class _Arithmetic:
    rtol: float
    scale: float


# Other CPUs sum in another order (FP32: 6e-8 a step); GPUs multiply in TensorFloat-32, which keeps 11 bits.
_ARITHMETIC = MappingProxyType(
    {
        Target.CPU: _Arithmetic(1e-4, 1e-5),
        Target.CUDA: _Arithmetic(1e-2, 1e-3),
        Target.TENSORRT: _Arithmetic(1e-2, 1e-3),
    }
)


@dataclass(frozen=True, slots=True)
class GoldenTolerance:
    """As NumPy's allclose takes it."""

    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """One sample with the source's answer; `answer`: the label of its best class, '' without labels."""

    name: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    answer: str

    @property
    def size_bytes(self) -> int:
        """All its arrays together."""
        return sum(array.nbytes for array in (*self.inputs.values(), *self.outputs.values()))


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """All samples of a package."""

    tolerance: GoldenTolerance
    samples: Sequence[GoldenSample]

    def files(self) -> dict[str, bytes]:
        """Write golden.toml and its arrays; nothing if there is no sample."""
        if not self.samples:
            return {}
        parts = [f"rtol = {self.tolerance.rtol}\natol = {self.tolerance.atol}\n"]
        files: dict[str, bytes] = {}
        for number, sample in enumerate(self.samples, start=1):
            inputs, outputs = array_files(number, sample)
            files |= {f"golden/{inputs[name]}": npy(array) for name, array in sample.inputs.items()}
            files |= {f"golden/{outputs[name]}": npy(array) for name, array in sample.outputs.items()}
            answer = f"answer = {quoted(sample.answer)}\n" if sample.answer else ""
            parts.append(
                f"\n[[sample]]\nname = {quoted(sample.name)}\ninputs = {inline_table(inputs)}\n"
                f"outputs = {inline_table(outputs)}\n{answer}"
            )
        return {"golden/golden.toml": "".join(parts).encode(), **files}


def make_golden_set(conversion: Conversion, served: ServedGraph) -> GoldenSet:
    """Take the first samples to which the chosen variant answers as the tolerance wants."""
    samples = served.graph.samples[:MOST_TRIED]
    candidates = [_answered(conversion, served, sample) for sample in samples]
    tolerance = golden_tolerance(conversion, served.graph.name, [candidate.outputs for candidate in candidates])
    chosen: list[GoldenSample] = []
    room_bytes = MOST_BYTES
    for sample, candidate in zip(samples, candidates, strict=True):
        if len(chosen) == MOST_SAMPLES or (chosen and candidate.size_bytes > room_bytes):
            break
        found = {name: _storable(array) for name, array in served.run(sample.inputs).items()}
        expected = _in_order_of(found, candidate.outputs, len(conversion.exported.labels))
        if _label(conversion, served, found) == candidate.answer and _agree(found, expected, tolerance):
            chosen.append(replace(candidate, outputs=expected))
            room_bytes -= candidate.size_bytes
    return GoldenSet(tolerance, chosen)


def golden_tolerance(conversion: Conversion, graph: str, answers: Sequence[Mapping[str, Array]]) -> GoldenTolerance:
    """Derive the tolerance by the rule above, rounded up to two digits."""
    differences = [one.difference for one in conversion.chosen.comparisons if one.graph == graph]
    measured = max((difference.absolute_error for difference in differences), default=0.0)
    arrays = [array for answer in answers for array in answer.values() if array.dtype.kind == "f"]
    largest = max((float(np.max(np.abs(array), initial=0)) for array in arrays), default=0.0)
    arithmetic = _ARITHMETIC[conversion.request.target]
    return GoldenTolerance(arithmetic.rtol, _rounded_up(max(_MARGIN * measured, arithmetic.scale * largest)))


def array_files(number: int, sample: GoldenSample) -> tuple[dict[str, str], dict[str, str]]:
    """Name the files of a sample's inputs and outputs, relative to golden/; tensor names may hold anything."""
    return (
        {name: f"{number}.input{place}.{_safe(name)}.npy" for place, name in enumerate(sample.inputs)},
        {name: f"{number}.output{place}.{_safe(name)}.npy" for place, name in enumerate(sample.outputs)},
    )


def npy(array: Array) -> bytes:
    """Write an array as NumPy's own file, the same bytes each time."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def _answered(conversion: Conversion, served: ServedGraph, sample: Sample) -> GoldenSample:
    found = served.graph.reference(sample.inputs)
    outputs = {tensor.name: _storable(found[tensor.name]) for tensor in served.signature.outputs}
    inputs = {name: _storable(array) for name, array in sample.inputs.items()}
    return GoldenSample(sample.name, inputs, outputs, _label(conversion, served, outputs))


def _label(conversion: Conversion, served: ServedGraph, outputs: Mapping[str, Array]) -> str:
    """Return the label of the best class; '' where the output has several rows or more classes than labels."""
    scores = outputs.get(served.label_output)
    labels = conversion.exported.labels
    if scores is None or scores.dtype.kind not in "fiu" or scores.shape[:-1] not in ((), (1,)):
        return ""
    best = int(scores.argmax())
    return labels[best] if best < len(labels) else ""


def _in_order_of(found: Mapping[str, Array], expected: Mapping[str, Array], labels: int) -> Mapping[str, Array]:
    """Detectors give their boxes in another order where two are tied: the source's values, in the variant's order."""
    if not (has_detections(found) and has_detections(expected)):
        return expected
    matched = match_detections(
        found, expected, labels
    ).found  # without the axis of the pictures, of which here is one
    return {
        name: matched[name].reshape(array.shape) if matched[name].size == array.size else array
        for name, array in expected.items()
    }


def _agree(found: Mapping[str, Array], expected: Mapping[str, Array], tolerance: GoldenTolerance) -> bool:
    return all(_agrees(found[name], array, tolerance) for name, array in expected.items())


def _agrees(found: Array, expected: Array, tolerance: GoldenTolerance) -> bool:
    if found.shape != expected.shape or expected.dtype.kind != "f":
        return bool(np.array_equal(found, expected))
    return bool(np.allclose(found, expected, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True))


def _storable(array: Array) -> Array:
    """Texts as bytes: objects would be pickled."""
    array = np.asarray(array)
    if array.dtype.kind not in "OU":
        return array
    texts = [text if isinstance(text, bytes) else str(text).encode() for text in array.reshape(-1)]
    return np.array(texts, dtype=np.bytes_).reshape(array.shape)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:100]


def _rounded_up(value: float) -> float:
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / step) * step:.1e}")
