"""What stands in a converted package: configuration, golden samples, card and provenance."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from appliance.cli.golden import read_golden_samples
from appliance.convert.conversion import Conversion
from appliance.convert.exported_model import ShapeProfile
from appliance.convert.label_file import label_file
from appliance.convert.package_writer import write_packages
from appliance.convert.precision import Form, Target
from appliance.convert.processing_words import processing_words
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array, Sample
from appliance.convert.task import Task
from appliance.convert.toml_text import inline_table, quoted
from appliance.model.config import InstanceKind, ModelConfig
from appliance.registry.package import read_package
from tests.convert.real_conversions import (
    LABELS,
    PAGES,
    WHEN,
    a_conversion,
    a_leaf_conversion,
    a_request,
    a_variant,
    an_exported_model,
    choosing,
    ignore,
    mlp_graph,
)
from tests.support.onnx_models import tensor, write_graph, write_identity, write_mlp

HOSTILE = 'a "quoted" \\ name\nwith\ta break, ünï 💧 \x7f\x85\u2028'


def write(conversion: Conversion) -> Path:
    (place,) = write_packages(conversion, PAGES, ignore, when=WHEN)
    return place


def config_of(place: Path) -> ModelConfig:
    return read_package(place).config


@pytest.fixture
def leaves(tmp_path: Path) -> Conversion:
    return a_leaf_conversion(tmp_path / "work", tmp_path / "leaves")


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_reads_back_from_toml_and_stays_on_its_line(key: str, value: str) -> None:
    text = f"{quoted(key)} = {quoted(value)}\n[table]\ninline = {inline_table({key: value})}\n"

    assert tomllib.loads(text)["table"] == {"inline": {key: value}}
    assert text.splitlines()[0] == f"{quoted(key)} = {quoted(value)}"


def test_half_a_surrogate_pair_can_still_be_written() -> None:
    assert quoted("a\udcffb").encode() == b'"a?b"'


@given(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))))
def test_labels_read_back_in_the_order_of_the_classes(labels: list[str]) -> None:
    assert label_file(labels).decode().splitlines() == labels


@pytest.mark.parametrize("char", "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\x00\x1b\ud800")
def test_a_label_that_would_break_the_file_is_refused_with_its_number(char: str) -> None:
    with pytest.raises(ConversionRefused, match="the label of class 2 is 'a") as refused:
        label_file(["one", "two", f"a{char}b"])

    assert refused.value.reason is Reason.NO_CONFIG


def test_the_configuration_says_what_the_model_file_cannot(leaves: Conversion) -> None:
    config = config_of(write(choosing(leaves, Form.FP16)))

    assert config.max_batch_size == 16
    assert config.dynamic_batching is not None
    assert config.default_model_filename == "model.fp16.onnx"
    assert [(output.name, output.label_filename) for output in config.output] == [("OUTPUT0", "labels.txt")]
    assert [group.kind for group in config.instance_group] == [InstanceKind.CPU]
    assert config.parameter("trt_profile_min_shapes") == "INPUT0:1x8"
    assert config.parameter("trt_profile_max_shapes") == "INPUT0:16x8"


def test_a_model_for_a_gpu_asks_for_one(tmp_path: Path) -> None:
    conversion = a_leaf_conversion(tmp_path / "work", tmp_path / "leaves", target=Target.TENSORRT)

    assert [group.kind for group in config_of(write(conversion)).instance_group] == [InstanceKind.GPU]


def test_words_of_the_source_cannot_break_the_configuration_or_the_card(tmp_path: Path) -> None:
    conversion = a_leaf_conversion(
        tmp_path / "work", tmp_path / "leaves", licence=HOSTILE, intended_use=HOSTILE, author=HOSTILE
    )
    place = write(replace(conversion, exported=replace(conversion.exported, architecture=HOSTILE)))
    config = config_of(place)

    assert config.licence == HOSTILE
    assert config.description == f"image classification ({HOSTILE})"
    assert len((place / "card.md").read_text().split("---")[1].splitlines()) == 4
    assert read_package(place).provenance is not None


def test_names_that_the_list_of_profiles_cannot_hold_leave_it_out_and_say_so(tmp_path: Path) -> None:
    file = write_graph(
        tmp_path / "work" / "model.onnx",
        [*_identity("x:0", "y/0")],
        [tensor("x:0", "FP32", ["N", 8])],
        [tensor("y/0", "FP32", ["N", 8])],
    )
    graph = mlp_graph(
        file,
        reference=lambda inputs: {"y/0": inputs["x:0"]},
        samples=[Sample("../../etc/x", {"x:0": np.ones((1, 8), np.float32)})],
        profiles={"x:0": ShapeProfile((1, 8), (4, 8), (16, 8))},
        batches=[],
    )
    place = write(tensors_conversion(tmp_path / "leaves", graph))

    assert "trt_profile_min_shapes" not in config_of(place).parameters
    assert '# No shape profiles for TensorRT: they cannot hold the input\'s name "x:0"' in _text(place, "model.toml")
    assert golden(place)[0][1].keys() == {"y/0"}
    assert sorted(path.name for path in (place / "golden").iterdir()) == [
        "1.input0.x_0.npy",
        "1.output0.y_0.npy",
        "golden.toml",
    ]


def test_a_fixed_first_axis_means_no_batches(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "FP32", [1, 8], batch=False)
    graph = identity_graph(file, np.ones((1, 8), np.float32), ShapeProfile((1, 8), (1, 8), (1, 8)))
    place = write(tensors_conversion(tmp_path / "leaves", graph))

    assert config_of(place).max_batch_size == 0
    assert "INPUT0`: FP32 [1, 8]" in _text(place, "card.md")


def test_a_scalar_input_has_no_profile(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "FP32", [], batch=False)
    graph = identity_graph(file, np.array(2.5, np.float32), ShapeProfile((), (), ()))
    place = write(tensors_conversion(tmp_path / "leaves", graph))

    assert config_of(place).parameters == {}
    assert [(inputs["INPUT0"].shape, outputs["OUTPUT0"].shape) for inputs, outputs in golden(place)] == [((), ())]


def test_labels_name_the_classes_of_a_row_and_nothing_finer(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "FP32", ["T", 4])
    graph = identity_graph(file, np.ones((1, 3, 4), np.float32), ShapeProfile((1, 1, 4), (1, 3, 4), (8, 9, 4)))
    conversion = tensors_conversion(tmp_path / "leaves", graph)
    exported = replace(conversion.exported, labels=LABELS, label_output="OUTPUT0", task=Task.TOKEN_CLASSIFICATION)
    place = write(replace(conversion, exported=exported))

    assert config_of(place).output == ()
    assert _text(place, "labels.txt").splitlines() == LABELS
    assert "INPUT0`: FP32 [N, 1 to 9, 4]" in _text(place, "card.md")


def test_golden_outputs_are_those_of_the_source_not_of_onnx_runtime(leaves: Conversion) -> None:
    place = write(choosing(leaves, Form.FP16))
    reference = leaves.exported.graphs[0].reference

    for inputs, outputs in golden(place):
        assert np.array_equal(outputs["OUTPUT0"], reference(inputs)["OUTPUT0"])


def test_the_golden_tolerance_follows_the_measured_error_of_the_chosen_variant(leaves: Conversion) -> None:
    samples = read_golden_samples(write(choosing(leaves, Form.FP16)))
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
    assert "There are no golden samples" in _text(place, "card.md")


def test_boxes_in_another_order_are_still_the_sources_own(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    logits = random.standard_normal((1, 5, 3)).astype(np.float32)
    boxes = random.uniform(0.2, 0.8, (1, 5, 4)).astype(np.float32)
    names = ("logits", "pred_boxes")
    file = write_graph(
        tmp_path / "work" / "model.onnx",
        [*_identity("a", "logits"), *_identity("b", "pred_boxes")],
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
        profiles={"a": ShapeProfile((1, 5, 3), (1, 5, 3), (8, 5, 3))},
        batches=[],
    )
    place = write(tensors_conversion(tmp_path / "leaves", graph, task=Task.OBJECT_DETECTION))
    ((_, outputs),) = golden(place)

    assert np.array_equal(outputs["logits"], logits + np.float32(1e-6))
    assert np.array_equal(outputs["pred_boxes"], boxes + np.float32(1e-6))


def test_texts_are_stored_without_pickle(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "BYTES", [2])
    words = np.array([["grün", "stop"]], dtype=object)
    graph = identity_graph(file, words, ShapeProfile((1, 2), (1, 2), (8, 2)))
    place = write(tensors_conversion(tmp_path / "leaves", graph))
    ((inputs, outputs),) = golden(place)

    assert inputs["INPUT0"].tolist() == outputs["OUTPUT0"].tolist() == [["grün".encode(), b"stop"]]
    assert ".astype(object)" in _text(place, "card.md")


def test_the_golden_samples_stay_small_but_are_never_none_for_their_size(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "FP32", ["W"])
    wide = np.ones((1, 3 * 1024 * 1024), np.float32)
    graph = identity_graph(file, wide, ShapeProfile((1, 1), (1, 8), (2, 8)))
    place = write(tensors_conversion(tmp_path / "leaves", replace(graph, samples=[*graph.samples] * 3)))

    assert len(golden(place)) == 1


def test_provenance_has_digests_numbers_and_names_but_no_times(leaves: Conversion) -> None:
    place = write(leaves)
    document = json.loads(_text(place, "provenance.json"))

    assert document["onnx"].keys() == {"1/model.onnx", "1/model.fp16.onnx"}
    assert document["source"]["name"] == "leaf-model"
    assert document["source"]["files"].keys() == {"config.json", "model.safetensors"}
    assert (document["licence"], document["author"], document["when"]) == ("Apache-2.0", "Plant ward", WHEN)
    assert [(one["form"], one["within_tolerance"]) for one in document["validation"]] == [
        ("fp32", True),
        ("fp16", True),
        ("int8-cpu", False),
    ]
    assert document["validation"][0]["worst"]["absolute_error"] > 0
    assert "slow" not in _text(place, "provenance.json")
    assert "slow" not in _text(place, "card.md")


def test_a_variant_that_could_not_be_made_is_told_without_numbers(leaves: Conversion) -> None:
    failed = replace(leaves.variants[2], form=Form.INT8_TENSORRT, graphs={}, size_bytes=0, comparisons=[])
    place = write(replace(leaves, variants=[*leaves.variants, failed]))

    assert json.loads(_text(place, "provenance.json"))["validation"][3]["worst"] is None
    assert "| INT8 TensorRT | left out | 0 B |" in _text(place, "card.md")


@pytest.mark.parametrize(
    ("real", "expected"),
    [(True, "golden/ holds 4 of the inputs that were brought"), (False, "they say nothing about real ones")],
)
def test_the_card_says_what_the_comparison_used(leaves: Conversion, real: bool, expected: str) -> None:
    place = write(replace(leaves, exported=replace(leaves.exported, samples_are_real=real)))

    assert expected in _text(place, "card.md")


def test_the_card_alone_tells_the_licence(leaves: Conversion) -> None:
    place = write(leaves)
    (place / "provenance.json").unlink()
    (place / "model.toml").unlink()
    (place / "labels.txt").unlink()

    assert read_package(place).licence == "Apache-2.0"


def test_preparing_a_picture_is_said_in_words_and_numbers() -> None:
    found = processing_words(
        {
            "image": {
                "do_resize": True,
                "size": {"shortest_edge": 256},
                "resample": 3,
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": [0.485, 0.456, 0.406],
                "image_std": [0.229, 0.224, 0.225],
                "do_pad": False,
            },
            "output": {"rule": "softmax over\nthe last axis"},
        }
    )

    assert found == [
        (
            "* **Pictures**: resize to shortest edge 256 (bicubic); cut out the middle, height 224, width 224; "
            "multiply by 0.00392157; subtract [0.485, 0.456, 0.406], divide by [0.229, 0.224, 0.225]; do pad no"
        ),
        "* **Outputs**: rule softmax over the last axis",
    ]


def test_a_step_that_is_switched_off_is_not_said() -> None:
    assert processing_words({"image": {"do_resize": False, "size": {"height": 3}}}) == ["* **Pictures**: as it is"]


def test_every_number_of_the_preparation_stands_in_a_file_too(leaves: Conversion) -> None:
    document = json.loads(_text(write(leaves), "processor/preprocessing.json"))

    assert document == leaves.exported.preprocessing


def test_the_example_is_five_lines_of_python(leaves: Conversion) -> None:
    code = re.search(r"```python\n(.*)```", _text(write(leaves), "card.md"), re.DOTALL)

    assert code is not None
    assert len(code.group(1).splitlines()) == 5
    compile(code.group(1), "card.md", "exec")


def identity_graph(file: Path, array: Array, profile: ShapeProfile):
    return mlp_graph(
        file,
        reference=lambda inputs: {"OUTPUT0": inputs["INPUT0"]},
        samples=[Sample("one", {"INPUT0": array})],
        profiles={"INPUT0": profile},
        batches=[],
    )


def tensors_conversion(out: Path, graph, task: Task = Task.TENSORS) -> Conversion:
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


def golden(place: Path) -> list[tuple[dict[str, Array], dict[str, Array]]]:
    samples = read_golden_samples(place)
    assert samples is not None
    return [(samples.arrays(one.inputs), samples.arrays(one.outputs)) for one in samples.samples]


def _identity(source: str, target: str):
    return [helper.make_node("Identity", [source], [target])]


def _text(place: Path, path: str) -> str:
    return (place / path).read_text()
