"""Conversions around small real ONNX files, with the same model in NumPy as their source."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from appliance.backends.onnxruntime import open_session
from appliance.convert.comparison import HISTOGRAM_DECADES, Comparison, Difference, Tolerance
from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ExportedModel, Graph, Reference
from appliance.convert.precision import Form
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Array, Batch, Sample
from appliance.convert.task import Task
from appliance.convert.variant import Latency, Variant
from appliance.model.engine import ShapeRange
from appliance.model.identity import ModelName, ModelVersion
from tests.support.onnx_models import write_mlp

LABELS = ["healthy", "rust", "mildew", "blight"]
WIDTHS = (8, 16, 4)
PAGES = {"conversion.html": b"<!doctype html><title>report</title>", "conversion.json": b'{"format": 1}\n'}
WHEN = "2024-06-01T12:00:00Z"
TOLERANCE = Tolerance(0.5, 0.9, 0.5)
FAR_OFF = Tolerance(0.0, 1.0, 1.0)
# What a package of a_leaf_conversion holds.
LEAF_FILES = {
    "model.toml",
    "1/model.onnx",
    "1/model.fp16.onnx",
    "labels.txt",
    "processor/preprocessing.json",
    "golden/golden.toml",
    *(f"golden/{number}.{tensor}.npy" for number in range(1, 5) for tensor in ("input0.INPUT0", "output0.OUTPUT0")),
    "card.md",
    "provenance.json",
    "conversion.html",
    "conversion.json",
}


def mlp_reference(file: Path) -> Reference:
    """The layers of write_mlp, in NumPy."""
    graph = onnx.load(file).graph
    layers = [numpy_helper.to_array(tensor) for tensor in graph.initializer]

    def compute(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        value = inputs["INPUT0"]
        for weights in layers[:-1]:
            value = np.maximum(value @ weights, 0)
        return {"OUTPUT0": (value @ layers[-1]).astype(np.float32)}

    return compute


def rows(count: int, seed: int = 5) -> list[Sample]:
    random = np.random.default_rng(seed)
    return [
        Sample(f"row {number}", {"INPUT0": random.standard_normal((1, WIDTHS[0])).astype(np.float32)})
        for number in range(count)
    ]


def mlp_graph(file: Path, **changes: Any) -> Graph:
    samples = rows(6)
    batch = {"INPUT0": np.concatenate([sample.inputs["INPUT0"] for sample in samples])}
    graph = Graph(
        name="model",
        file=file,
        reference=mlp_reference(file),
        samples=samples,
        batches=[Batch("batch 6, 8", 6, batch)],
        profiles={"INPUT0": ShapeRange((1, 8), (4, 8), (16, 8))},
    )
    return replace(graph, **changes)


def coarse(file: Path, target: Path, step: float = 1 / 64) -> Path:
    """The same graph with weights rounded to steps: a variant that is smaller in nothing but its accuracy."""
    model = onnx.load(file)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array((np.round(values / step) * step).astype(values.dtype), tensor.name))
    target.write_bytes(model.SerializeToString(deterministic=True))
    return target


def measured(graph: Graph, file: Path) -> Comparison:
    """The largest error of ONNX Runtime on the graph's batch."""
    batch = graph.batches[0]
    session = open_session(file)
    expected = graph.reference(batch.inputs)
    found = session.run(list(expected), dict(batch.inputs))
    error = max(float(np.abs(one - two).max()) for one, two in zip(expected.values(), found, strict=True))
    largest = max(float(np.abs(array).max()) for array in expected.values())
    difference = Difference(error, error / largest, 1.0, 1.0, (0,) * len(HISTOGRAM_DECADES))
    return Comparison(graph.name, batch.case, batch.size, batch.shapes, difference)


def a_variant(graphs: Sequence[Graph], form: Form, files: Sequence[Path], **changes: Any) -> Variant:
    variant = Variant(
        form=form,
        graphs={graph.name: file for graph, file in zip(graphs, files, strict=True)},
        size_bytes=sum(file.stat().st_size for file in files),
        comparisons=[measured(graph, file) for graph, file in zip(graphs, files, strict=True)],
        tolerance=TOLERANCE,
        latencies=[Latency(1, 0.25, 10)],
    )
    return replace(variant, **changes)


def an_exported_model(graphs: Sequence[Graph], **changes: Any) -> ExportedModel:
    exported = ExportedModel(
        task=Task.IMAGE_CLASSIFICATION,
        architecture="LeafForImageClassification",
        graphs=graphs,
        labels=LABELS,
        label_output="OUTPUT0",
        samples_are_real=False,
        preprocessing={"image": {"do_resize": True, "size": {"height": 2, "width": 4}, "resample": 2}},
        processor_files=[],
        tool_versions={"torch": "2.13.0", "onnx": "1.23.2"},
    )
    return replace(exported, **changes)


def a_request(out: Path, **changes: Any) -> ConversionRequest:
    request = ConversionRequest(
        source="somewhere/leaf-model",
        out=out,
        name=ModelName(out.name),
        version=ModelVersion(1),
        licence="Apache-2.0",
        max_batch_size=16,
        author="Plant ward",
    )
    return replace(request, **changes)


def a_conversion(request: ConversionRequest, exported: ExportedModel, variants: Sequence[Variant]) -> Conversion:
    digest = "sha256:" + "5e" * 32
    return Conversion(request, exported, {"model.safetensors": digest, "config.json": digest}, variants, "a machine")


def a_leaf_conversion(folder: Path, out: Path, **changes: Any) -> Conversion:
    """FP32, served; a coarser form within tolerance; one outside. Changes go to the request."""
    file = write_mlp(folder / "model.onnx", WIDTHS)
    graphs = [mlp_graph(file)]
    variants = [
        a_variant(graphs, Form.FP32, [file], chosen=True),
        a_variant(graphs, Form.FP16, [coarse(file, folder / "sixteen.onnx")], verdict="1.43 times as slow as fp32"),
        a_variant(graphs, Form.INT8_CPU, [coarse(file, folder / "eight.onnx", 1 / 4)], tolerance=FAR_OFF),
    ]
    return a_conversion(a_request(out, **changes), an_exported_model(graphs), variants)


def choosing(conversion: Conversion, form: Form) -> Conversion:
    """The same with another variant served."""
    return replace(
        conversion, variants=[replace(variant, chosen=variant.form is form) for variant in conversion.variants]
    )


def ignore(_: str) -> None:
    """Tell nobody."""
