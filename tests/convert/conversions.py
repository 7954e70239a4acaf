"""Conversions as the report gets them, made of the real values; nothing is converted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from appliance.convert.comparison import HISTOGRAM_DECADES, Comparison, Difference, Tolerance
from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.precision import Form, Precision
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array, Batch, Sample
from appliance.convert.task import Task
from appliance.convert.variant import Latency, Variant
from appliance.model.engine import ShapeRange
from appliance.model.identity import ModelName, ModelVersion

STRICT = Tolerance(relative_error=1e-3, cosine=0.9999, agreement=0.999)
LOOSE = Tolerance(relative_error=float("inf"), cosine=0.98, agreement=0.97)


def a_histogram(peak: int, spread: float = 1.1, values: int = 40_000) -> tuple[int, ...]:
    """Counts around one decade."""
    weights = np.exp(-((np.array(HISTOGRAM_DECADES) - peak) ** 2) / (2 * spread**2))
    return tuple(int(count) for count in (weights / weights.sum() * values).round())


def a_difference(error: float, cosine: float = 1.0, agreement: float = 1.0) -> Difference:
    """Errors up to `error`, most a decade below."""
    return Difference(error, error / 4.0625, cosine, agreement, a_histogram(int(np.floor(np.log10(error))) - 1))


def comparisons(worst: Difference, graph: str = "model") -> list[Comparison]:
    """Four cases, the last of them the worst."""
    sizes = (1, 2, 4, 8)
    return [
        Comparison(
            graph,
            f"batch {size}, 3x224x224",
            size,
            {"pixel_values": (size, 3, 224, 224)},
            replace(worst, absolute_error=worst.absolute_error * size / 8),
        )
        for size in sizes
    ]


def latencies(per_row_ms: float, sizes: Sequence[int] = (1, 2, 4, 8)) -> list[Latency]:
    """Batches that cost a little less per row the larger they are."""
    return [Latency(size, per_row_ms * size**0.93, 40) for size in sizes]


def a_variant(
    form: Form = Form.FP32,
    *,
    worst: Difference | None = None,
    per_row_ms: float = 57.125,
    size_bytes: int = 102_553_611,
    verdict: str = "",
    chosen: bool = False,
) -> Variant:
    """One variant with a file below a directory of the workstation."""
    strict = form in {Form.FP32, Form.FP16}
    return Variant(
        form,
        {"model": Path("/home/someone/scratch") / f"model.{form.value}.onnx"},
        size_bytes,
        comparisons(worst or a_difference(1.4375e-5)),
        STRICT if strict else LOOSE,
        latencies(per_row_ms),
        verdict,
        chosen,
    )


def all_variants() -> list[Variant]:
    """Five forms: one chosen, one slower, one for other hardware, one out of tolerance."""
    return [
        a_variant(),
        a_variant(
            Form.FP16,
            worst=replace(a_difference(3.25e-3, 0.99999821), agreement=0.9995),
            per_row_ms=81.5,
            size_bytes=51_312_004,
            verdict="meant for a GPU: 1.43 times as slow as fp32 on this CPU",
        ),
        a_variant(
            Form.INT8_DYNAMIC,
            worst=a_difference(0.53, 0.9971234, 0.9812),
            per_row_ms=70.25,
            size_bytes=25_900_113,
            verdict="1.23 times as slow as fp32",
        ),
        a_variant(
            Form.INT8_CPU,
            worst=a_difference(0.41, 0.9986112, 0.9875),
            per_row_ms=30.0625,
            size_bytes=25_811_440,
            chosen=True,
        ),
        a_variant(
            Form.INT8_TENSORRT,
            worst=a_difference(2.75, 0.971, 0.9125),
            per_row_ms=55.5,
            size_bytes=26_100_712,
            verdict="out of tolerance: agreement 91.25 % < 97 %",
        ),
    ]


def an_exported_model(**changes: object) -> ExportedModel:
    """An image classifier."""
    inputs: Mapping[str, Array] = {"pixel_values": np.zeros((1, 3, 224, 224), np.float32)}
    graph = Graph(
        name="model",
        file=Path("/home/someone/scratch/model.onnx"),
        reference=dict,
        samples=[Sample("leaf", inputs)],
        batches=[Batch("batch 1, 3x224x224", 1, inputs)],
        profiles={"pixel_values": ShapeRange((1, 3, 224, 224), (4, 3, 224, 224), (8, 3, 224, 224))},
    )
    exported = ExportedModel(
        task=Task.IMAGE_CLASSIFICATION,
        architecture="ResNetForImageClassification",
        graphs=[graph],
        labels=["healthy leaf", "leaf rust", "powdery mildew", "late blight"],
        label_output="logits",
        samples_are_real=True,
        preprocessing={
            "image": {
                "do_resize": True,
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
                "resample": 3,
                "size": {"shortest_edge": 224},
            }
        },
        processor_files=[Path("/home/someone/models/resnet/preprocessor_config.json")],
        tool_versions={"torch": "2.13.0", "onnxruntime": "1.28.0", "python": "3.11"},
    )
    return replace(exported, **changes)


def a_request(**changes: object) -> ConversionRequest:
    """One with every option that is words."""
    request = ConversionRequest(
        source="/home/someone/models/resnet",
        out=Path("/home/someone/packages/leaves"),
        name=ModelName("leaves"),
        version=ModelVersion(3),
        licence="Apache-2.0",
        precisions=(Precision.FP32, Precision.FP16, Precision.INT8),
        samples=Path("/home/someone/pictures"),
        base_model="ResNet-50, trained on ImageNet",
        intended_use="Sorting photographs of leaves before a person looks at them.",
        author="Plant ward",
    )
    return replace(request, **changes)


def a_conversion(
    variants: Sequence[Variant] | None = None,
    request: ConversionRequest | None = None,
    exported: ExportedModel | None = None,
) -> Conversion:
    """All of it."""
    return Conversion(
        request=request or a_request(),
        exported=exported or an_exported_model(),
        source_digests={"model.safetensors": "sha256:" + "5e" * 32, "config.json": "sha256:" + "a1" * 32},
        variants=variants or all_variants(),
        machine="Intel Xeon 2.80 GHz, 2 cores",
    )
