"""The FP16 form."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from appliance.convert.forms.fp16 import write_fp16
from tests.convert.forms import DIGITS, answers, digit_images
from tests.support.onnx_models import scaled, tensor, write_cnn, write_graph


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_inputs_and_outputs_stay_fp32_while_the_weights_are_fp16(tmp_path, scratch):
    write_fp16(DIGITS, tmp_path / "fp16.onnx", scratch)
    graph = onnx.load(tmp_path / "fp16.onnx").graph

    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {TensorProto.FLOAT}
    assert {weight.data_type for weight in graph.initializer} == {TensorProto.FLOAT16}


def test_the_file_is_half_as_large_and_answers_the_same(tmp_path, scratch):
    write_fp16(DIGITS, tmp_path / "fp16.onnx", scratch)
    images = digit_images()
    expected, found = answers(DIGITS, pixel_values=images), answers(tmp_path / "fp16.onnx", pixel_values=images)

    assert (tmp_path / "fp16.onnx").stat().st_size < 0.55 * DIGITS.stat().st_size
    assert np.array_equal(expected.argmax(1), found.argmax(1))
    assert 0 < np.abs(expected - found).max() < 1e-3 * np.abs(expected).max()


def test_two_runs_give_the_same_bytes(tmp_path, scratch):
    source = write_cnn(tmp_path / "cnn.onnx")
    for name in ("first", "second"):
        write_fp16(source, tmp_path / name, scratch)

    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_the_file_names_no_operator_set_and_no_tensor_that_it_does_not_use(tmp_path, scratch):
    model = onnx.load(write_cnn(tmp_path / "cnn.onnx"))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model.graph.value_info.append(tensor("gone", "FP32", ["N", 4]))
    onnx.save(model, tmp_path / "cluttered.onnx")
    write_fp16(tmp_path / "cluttered.onnx", tmp_path / "fp16.onnx", scratch)
    written = onnx.load(tmp_path / "fp16.onnx")

    assert [entry.domain for entry in written.opset_import] == [""]
    assert "gone" not in {value.name for value in written.graph.value_info}


def test_a_value_read_by_two_operators_that_stay_fp32_gives_a_valid_file(tmp_path, scratch):
    """Min and Max stay FP32: the tool gives the value before them two casts of one name."""
    nodes = [
        helper.make_node("MatMul", ["INPUT0", "weights"], ["product"]),
        helper.make_node("Min", ["product", "limit"], ["smaller"]),
        helper.make_node("Max", ["product", "limit"], ["larger"]),
        helper.make_node("Sub", ["larger", "smaller"], ["OUTPUT0"]),
    ]
    weights = {"weights": scaled(np.random.default_rng(1), (4, 4), 4), "limit": np.float32([0.5])}
    inputs, outputs = [tensor("INPUT0", "FP32", ["N", 4])], [tensor("OUTPUT0", "FP32", ["N", 4])]
    source = write_graph(tmp_path / "source.onnx", nodes, inputs, outputs, weights)
    write_fp16(source, tmp_path / "fp16.onnx", scratch)
    rows = np.random.default_rng(2).standard_normal((8, 4)).astype(np.float32)

    onnx.checker.check_model(onnx.load(tmp_path / "fp16.onnx"), full_check=True)
    assert np.allclose(answers(source, INPUT0=rows), answers(tmp_path / "fp16.onnx", INPUT0=rows), atol=5e-3)
