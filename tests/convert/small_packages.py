"""Small packages written for tests, and what stands in them."""

from dataclasses import replace
from pathlib import Path

from onnx import NodeProto, helper

from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import Graph
from appliance.convert.package.package_writer import write_packages
from appliance.convert.precision import Form
from appliance.convert.samples import Array, Sample
from appliance.convert.task import Task
from appliance.model.engine import ShapeRange
from appliance.registry.golden import read_golden_samples
from tests.convert.real_conversions import (
    PAGES,
    WHEN,
    a_conversion,
    a_request,
    a_variant,
    an_exported_model,
    ignore,
    mlp_graph,
)
from tests.support.onnx_models import write_mlp


def write_one(conversion: Conversion) -> Path:
    (place,) = write_packages(conversion, PAGES, ignore, when=WHEN)
    return place


def identity_graph(file: Path, array: Array, profile: ShapeRange) -> Graph:
    return mlp_graph(
        file,
        reference=lambda inputs: {"OUTPUT0": inputs["INPUT0"]},
        samples=[Sample("one", {"INPUT0": array})],
        profiles={"INPUT0": profile},
        batches=[],
    )


def tensors_conversion(out: Path, graph: Graph, task: Task = Task.TENSORS) -> Conversion:
    """An FP32 graph whose validation found no difference; without labels."""
    template = mlp_graph(write_mlp(graph.file.with_name("template.onnx"), (8, 16, 4)))
    comparisons = a_variant([template], Form.FP32, [template.file]).comparisons
    variant = replace(
        a_variant([template], Form.FP32, [template.file], chosen=True),
        graphs={graph.name: graph.file},
        comparisons=[replace(one, difference=replace(one.difference, absolute_error=0.0)) for one in comparisons],
    )
    exported = an_exported_model([graph], labels=[], label_output="", task=task)
    return a_conversion(a_request(out), exported, [variant])


def golden_arrays(place: Path) -> list[tuple[dict[str, Array], dict[str, Array]]]:
    samples = read_golden_samples(place)
    assert samples is not None
    return [(samples.arrays(one.inputs), samples.arrays(one.outputs)) for one in samples.samples]


def identity_nodes(source: str, target: str) -> list[NodeProto]:
    return [helper.make_node("Identity", [source], [target])]


def text_of(place: Path, path: str) -> str:
    return (place / path).read_text()
