"""Golden samples: the source's own answers, with a tolerance that the chosen variant keeps."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from appliance.convert.conversion import Conversion
from appliance.convert.package.package_writer import write_packages
from appliance.convert.precision import Form
from appliance.convert.samples import Array, Sample
from appliance.convert.task import Task
from appliance.model.engine import ShapeRange
from appliance.registry.golden import read_golden_samples
from tests.convert.real_conversions import (
    PAGES,
    WHEN,
    a_leaf_conversion,
    choosing,
    mlp_graph,
)
from tests.convert.small_packages import (
    golden_arrays,
    identity_graph,
    identity_nodes,
    tensors_conversion,
    text_of,
    write_one,
)
from tests.support.onnx_models import tensor, write_graph, write_identity


@pytest.fixture
def leaves(tmp_path: Path) -> Conversion:
    return a_leaf_conversion(tmp_path / "work", tmp_path / "leaves")


def test_golden_outputs_are_those_of_the_source_not_of_onnx_runtime(leaves: Conversion) -> None:
    place = write_one(choosing(leaves, Form.FP16))
    reference = leaves.exported.graphs[0].reference

    for inputs, outputs in golden_arrays(place):
        assert np.array_equal(outputs["OUTPUT0"], reference(inputs)["OUTPUT0"])


def test_the_golden_tolerance_follows_the_measured_error_of_the_chosen_variant(leaves: Conversion) -> None:
    samples = read_golden_samples(write_one(choosing(leaves, Form.FP16)))
    measured = leaves.variants[1].comparisons[0].difference.absolute_error

    assert samples is not None
    assert 4 * measured <= samples.atol <= 4.4 * measured
    assert samples.rtol == 1e-4


def test_a_sample_that_the_chosen_variant_answers_otherwise_is_left_out(tmp_path: Path) -> None:
    """A variant whose measured error is small, but which names another class or is further off on some rows."""
    conversion = choosing(a_leaf_conversion(tmp_path / "work", tmp_path / "leaves"), Form.FP16)
    far = {"INPUT0": np.full((1, 8), 1000, np.float32)}
    graph = conversion.exported.graphs[0]
    changed = replace(graph, samples=[Sample("far", far), *graph.samples])
    exact = [replace(one, comparisons=conversion.variants[0].comparisons) for one in conversion.variants]
    exported = replace(conversion.exported, graphs=[changed])
    told: list[str] = []
    (place,) = write_packages(replace(conversion, variants=exact, exported=exported), PAGES, told.append, when=WHEN)

    assert read_golden_samples(place) is None
    assert any("gets no golden samples" in line for line in told)
    assert "There are no golden samples" in text_of(place, "card.md")


def test_boxes_in_another_order_are_still_the_sources_own(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    logits = random.standard_normal((1, 5, 3)).astype(np.float32)
    boxes = random.uniform(0.2, 0.8, (1, 5, 4)).astype(np.float32)
    names = ("logits", "pred_boxes")
    file = write_graph(
        tmp_path / "work" / "model.onnx",
        [*identity_nodes("a", "logits"), *identity_nodes("b", "pred_boxes")],
        [tensor("a", "FP32", ["N", 5, 3]), tensor("b", "FP32", ["N", 5, 4])],
        [tensor("logits", "FP32", ["N", 5, 3]), tensor("pred_boxes", "FP32", ["N", 5, 4])],
    )
    order = [4, 2, 0, 1, 3]

    def reference(inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: inputs[key][:, order] + np.float32(1e-6) for name, key in zip(names, "ab", strict=True)}

    graph = mlp_graph(
        file,
        reference=reference,
        samples=[Sample("picture", {"a": logits, "b": boxes})],
        profiles={"a": ShapeRange((1, 5, 3), (1, 5, 3), (8, 5, 3))},
        batches=[],
    )
    place = write_one(tensors_conversion(tmp_path / "leaves", graph, task=Task.OBJECT_DETECTION))
    ((_, outputs),) = golden_arrays(place)

    assert np.array_equal(outputs["logits"], logits + np.float32(1e-6))
    assert np.array_equal(outputs["pred_boxes"], boxes + np.float32(1e-6))


def test_texts_are_stored_without_pickle(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "BYTES", [2])
    words = np.array([["grün", "stop"]], dtype=object)
    graph = identity_graph(file, words, ShapeRange((1, 2), (1, 2), (8, 2)))
    place = write_one(tensors_conversion(tmp_path / "leaves", graph))
    ((inputs, outputs),) = golden_arrays(place)

    assert inputs["INPUT0"].tolist() == outputs["OUTPUT0"].tolist() == [["grün".encode(), b"stop"]]
    assert ".astype(object)" in text_of(place, "card.md")


def test_the_golden_samples_stay_small_but_are_never_none_for_their_size(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "FP32", ["W"])
    wide = np.ones((1, 3 * 1024 * 1024), np.float32)
    graph = identity_graph(file, wide, ShapeRange((1, 1), (1, 8), (2, 8)))
    place = write_one(tensors_conversion(tmp_path / "leaves", replace(graph, samples=[*graph.samples] * 3)))

    assert len(golden_arrays(place)) == 1
