"""A graph that takes arrays as they are, with batches of its samples."""

from collections.abc import Callable, Sequence
from pathlib import Path

from appliance.convert.exported_model import Graph, Reference
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Batch, Sample
from appliance.convert.sources.graph_file import GraphSignature, read_signature
from appliance.convert.sources.row_independence import close, largest_batch
from appliance.convert.sources.shapes import ShapeRules, find_shapes
from appliance.model.engine import ShapeRange

_ASKED_TWICE = 4  # chance may give a few numbers twice

Tell = Callable[[str], None]


def tensor_graph(
    file: Path,
    reference: Reference,
    samples: Sequence[Sample],
    calibration: Sequence[Sample],
    request: ConversionRequest,
    tell: Tell,
) -> Graph:
    """Describe the graph in `file`. Its first axis counts as a batch only if its rows are independent of each other.

    Raises ConversionRefused if the source answers by chance.
    """
    for sample in samples[:_ASKED_TWICE]:
        _refuse_chance(reference, sample)
    signature = read_signature(file)
    most = largest_batch(reference, samples, request.max_batch_size) if _has_batch_axis(signature) else 0
    if not most:
        tell("its rows depend on each other, or are fixed in number: requests will not be joined")
        return _whole_graph(file, reference, samples, calibration)
    rules = ShapeRules(most, max_tokens=1, pad_token=0)
    shapes = find_shapes(file, signature, samples, reference, rules)
    return Graph("model", file, reference, samples, shapes.batches, shapes.profiles, calibration=calibration)


def _has_batch_axis(signature: GraphSignature) -> bool:
    return all(
        dims and isinstance(dims[0], str) for dims in (*signature.inputs.values(), *signature.outputs.values())
    )


def _refuse_chance(reference: Reference, sample: Sample) -> None:
    try:
        answers = [reference(sample.inputs) for _ in range(2)]
    except Exception:  # noqa: BLE001  (a source raises anything; the comparison tells why it does not take the sample)
        return
    if not close(*answers):
        raise ConversionRefused(
            Reason.UNSUPPORTED_ARCHITECTURE,
            "the source answers the same input in two ways: it draws random numbers or keeps a state",
            hint="export it in evaluation mode: torch.export.export(model.eval(), inputs)",
        )


def _whole_graph(file: Path, reference: Reference, samples: Sequence[Sample], calibration: Sequence[Sample]) -> Graph:
    batches = [Batch(_case(sample), 1, sample.inputs) for sample in samples]
    profiles = {name: _profile([sample.inputs[name].shape for sample in samples]) for name in samples[0].inputs}
    return Graph("model", file, reference, samples, batches, profiles, batched=False, calibration=calibration)


def _case(sample: Sample) -> str:
    shape = next(iter(sample.inputs.values())).shape
    return f"{sample.name}, {'x'.join(map(str, shape)) or 'scalar'}"


def _profile(shapes: Sequence[tuple[int, ...]]) -> ShapeRange:
    axes = [sorted(axis) for axis in zip(*shapes, strict=True)]
    usual = tuple(axis[len(axis) // 2] for axis in axes)
    return ShapeRange(tuple(axis[0] for axis in axes), usual, tuple(axis[-1] for axis in axes))
