"""What stands in a converted package: configuration, card and provenance."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from appliance.convert.conversion import Conversion
from appliance.convert.precision import Form, Target
from appliance.convert.samples import Sample
from appliance.convert.task import Task
from appliance.model.config import InstanceKind, ModelConfig
from appliance.model.engine import ShapeRange
from appliance.registry.package import read_package
from tests.convert.real_conversions import (
    LABELS,
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

HOSTILE = 'a "quoted" \\ name\nwith\ta break, ünï 💧 \x7f\x85\u2028'


def config_of(place: Path) -> ModelConfig:
    return read_package(place).config


@pytest.fixture
def leaves(tmp_path: Path) -> Conversion:
    return a_leaf_conversion(tmp_path / "work", tmp_path / "leaves")


def test_the_configuration_says_what_the_model_file_cannot(leaves: Conversion) -> None:
    config = config_of(write_one(choosing(leaves, Form.FP16)))

    assert config.max_batch_size == 16
    assert config.dynamic_batching is not None
    assert config.default_model_filename == "model.fp16.onnx"
    assert [(output.name, output.label_filename) for output in config.output] == [("OUTPUT0", "labels.txt")]
    assert [group.kind for group in config.instance_group] == [InstanceKind.CPU]
    assert config.parameter("trt_profile_min_shapes") == "INPUT0:1x8"
    assert config.parameter("trt_profile_max_shapes") == "INPUT0:16x8"


def test_a_model_for_a_gpu_asks_for_one(tmp_path: Path) -> None:
    conversion = a_leaf_conversion(tmp_path / "work", tmp_path / "leaves", target=Target.TENSORRT)

    assert [group.kind for group in config_of(write_one(conversion)).instance_group] == [InstanceKind.GPU]


def test_words_of_the_source_cannot_break_the_configuration_or_the_card(tmp_path: Path) -> None:
    conversion = a_leaf_conversion(
        tmp_path / "work", tmp_path / "leaves", licence=HOSTILE, intended_use=HOSTILE, author=HOSTILE
    )
    place = write_one(replace(conversion, exported=replace(conversion.exported, architecture=HOSTILE)))
    config = config_of(place)

    assert config.licence == HOSTILE
    assert config.description == f"image classification ({HOSTILE})"
    assert len((place / "card.md").read_text().split("---")[1].splitlines()) == 4
    assert read_package(place).provenance is not None


def test_names_that_the_list_of_profiles_cannot_hold_leave_it_out_and_say_so(tmp_path: Path) -> None:
    file = write_graph(
        tmp_path / "work" / "model.onnx",
        [*identity_nodes("x:0", "y/0")],
        [tensor("x:0", "FP32", ["N", 8])],
        [tensor("y/0", "FP32", ["N", 8])],
    )
    graph = mlp_graph(
        file,
        reference=lambda inputs: {"y/0": inputs["x:0"]},
        samples=[Sample("../../etc/x", {"x:0": np.ones((1, 8), np.float32)})],
        profiles={"x:0": ShapeRange((1, 8), (4, 8), (16, 8))},
        batches=[],
    )
    place = write_one(tensors_conversion(tmp_path / "leaves", graph))
    text = text_of(place, "model.toml")

    assert "trt_profile_min_shapes" not in config_of(place).parameters
    assert '# No shape profiles for TensorRT: they cannot hold the input\'s name "x:0"' in text
    assert golden_arrays(place)[0][1].keys() == {"y/0"}
    assert sorted(path.name for path in (place / "golden").iterdir()) == [
        "1.input0.x_0.npy",
        "1.output0.y_0.npy",
        "golden.toml",
    ]


def test_what_the_makers_say_goes_along_word_for_word(leaves: Conversion, tmp_path: Path) -> None:
    said = "# leaves\n\nLearnt in the garden: **99 %** right.\n"
    (tmp_path / "README.md").write_text(said)
    place = write_one(replace(leaves, exported=replace(leaves.exported, source_card=tmp_path / "README.md")))

    assert text_of(place, "source-card.md") == said
    assert "Training data: in the words of the source's makers, `source-card.md`" in text_of(place, "card.md")
    assert "What its makers measured: `source-card.md`." in text_of(place, "card.md")


def test_a_fixed_first_axis_means_no_batches(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "FP32", [1, 8], batch=False)
    graph = identity_graph(file, np.ones((1, 8), np.float32), ShapeRange((1, 8), (1, 8), (1, 8)))
    place = write_one(tensors_conversion(tmp_path / "leaves", graph))

    assert config_of(place).max_batch_size == 0
    assert "INPUT0`: FP32 [1, 8]" in text_of(place, "card.md")


def test_a_scalar_input_has_no_profile(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "FP32", [], batch=False)
    graph = identity_graph(file, np.array(2.5, np.float32), ShapeRange((), (), ()))
    place = write_one(tensors_conversion(tmp_path / "leaves", graph))

    assert config_of(place).parameters == {}
    assert [(inputs["INPUT0"].shape, outputs["OUTPUT0"].shape) for inputs, outputs in golden_arrays(place)] == [
        ((), ())
    ]


def test_labels_name_the_classes_of_a_row_and_nothing_finer(tmp_path: Path) -> None:
    file = write_identity(tmp_path / "work" / "model.onnx", "FP32", ["T", 4])
    graph = identity_graph(file, np.ones((1, 3, 4), np.float32), ShapeRange((1, 1, 4), (1, 3, 4), (8, 9, 4)))
    conversion = tensors_conversion(tmp_path / "leaves", graph)
    exported = replace(conversion.exported, labels=LABELS, label_output="OUTPUT0", task=Task.TOKEN_CLASSIFICATION)
    place = write_one(replace(conversion, exported=exported))

    assert config_of(place).output == ()
    assert text_of(place, "labels.txt").splitlines() == LABELS
    assert "INPUT0`: FP32 [N, 1 to 9, 4]" in text_of(place, "card.md")


def test_provenance_has_digests_numbers_and_names_but_no_times(leaves: Conversion) -> None:
    place = write_one(leaves)
    document = json.loads(text_of(place, "provenance.json"))

    assert document["onnx"].keys() == {"1/model.onnx", "1/model.fp16.onnx"}
    assert document["source"]["name"] == "leaf-model"
    assert document["source"]["files"].keys() == {"config.json", "model.safetensors"}
    assert (document["licence"], document["author"], document["when"]) == ("Apache-2.0", "Plant ward", WHEN)
    assert [(one["form"], one["within_tolerance"]) for one in document["validation"]] == [
        ("fp32", True),
        ("fp16", True),
        ("int8-cpu", False),
    ]
    assert document["validation"][1]["worst"]["absolute_error"] > 0  # of FP16; FP32 is exact on some processors
    assert "slow" not in text_of(place, "provenance.json")
    assert "slow" not in text_of(place, "card.md")


def test_a_variant_that_could_not_be_made_is_told_without_numbers(leaves: Conversion) -> None:
    failed = replace(leaves.variants[2], form=Form.INT8_TENSORRT, graphs={}, size_bytes=0, comparisons=[])
    place = write_one(replace(leaves, variants=[*leaves.variants, failed]))

    assert json.loads(text_of(place, "provenance.json"))["validation"][3]["worst"] is None
    assert "| INT8 TensorRT | left out | 0 B |" in text_of(place, "card.md")


@pytest.mark.parametrize(
    ("real", "expected"),
    [(True, "golden/ holds 4 of the inputs that were brought"), (False, "they say nothing about real ones")],
)
def test_the_card_says_what_the_comparison_used(leaves: Conversion, real: bool, expected: str) -> None:
    place = write_one(replace(leaves, exported=replace(leaves.exported, samples_are_real=real)))

    assert expected in text_of(place, "card.md")


def test_the_card_alone_tells_the_licence(leaves: Conversion) -> None:
    place = write_one(leaves)
    (place / "provenance.json").unlink()
    (place / "model.toml").unlink()
    (place / "labels.txt").unlink()

    assert read_package(place).licence == "Apache-2.0"


def test_every_number_of_the_preparation_stands_in_a_file_too(leaves: Conversion) -> None:
    document = json.loads(text_of(write_one(leaves), "processor/preprocessing.json"))

    assert document == leaves.exported.preprocessing


def test_the_example_is_a_few_lines_of_python(leaves: Conversion) -> None:
    code = re.search(r"```python\n(.*)```", text_of(write_one(leaves), "card.md"), re.DOTALL)

    assert code is not None
    assert len(code.group(1).splitlines()) == 7
    compile(code.group(1), "card.md", "exec")
