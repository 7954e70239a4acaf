"""The INT8 forms."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from appliance.convert.forms.int8 import calibrate, write_int8_cpu, write_int8_dynamic, write_int8_tensorrt
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Sample
from tests.convert.forms import DIGITS, answers, digit_images, digit_samples, random_samples
from tests.support.onnx_models import OPSET, scaled, tensor, write_cnn, write_graph, write_mlp

STATIC = (write_int8_cpu, write_int8_tensorrt)


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def zero_points(file):
    """Of every QuantizeLinear and DequantizeLinear; None where one has none."""
    graph = onnx.load(file).graph
    constants = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    return [
        constants[node.input[2]] if len(node.input) > 2 else None
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]


def operators(file):
    return {node.op_type for node in onnx.load(file).graph.node}


@pytest.mark.parametrize("write", STATIC)
def test_static_forms_of_a_real_model_are_a_third_as_large_and_keep_its_answers(tmp_path, scratch, write):
    write(calibrate(DIGITS, digit_samples(), scratch), tmp_path / "int8.onnx")
    images = digit_images()
    expected, found = answers(DIGITS, pixel_values=images), answers(tmp_path / "int8.onnx", pixel_values=images)

    assert (tmp_path / "int8.onnx").stat().st_size < 0.36 * DIGITS.stat().st_size
    assert np.mean(expected.argmax(1) == found.argmax(1)) > 0.99
    assert np.abs(expected - found).max() > 1e-4  # it is another computation


def test_the_dynamic_form_needs_no_data_shrinks_and_keeps_the_answers(tmp_path, scratch):
    source = write_mlp(tmp_path / "mlp.onnx", (64, 256, 10))
    write_int8_dynamic(source, tmp_path / "int8.onnx", scratch)
    rows = np.random.default_rng(3).standard_normal((200, 64)).astype(np.float32)
    expected, found = answers(source, INPUT0=rows), answers(tmp_path / "int8.onnx", INPUT0=rows)

    assert (tmp_path / "int8.onnx").stat().st_size < 0.36 * source.stat().st_size
    assert np.mean(expected.argmax(1) == found.argmax(1)) > 0.95
    assert np.abs(expected - found).max() < 0.05 * np.abs(expected).max()


def test_the_form_for_the_cpu_has_unsigned_activations_and_signed_weights_of_7_bits(tmp_path, scratch):
    source = write_cnn(tmp_path / "cnn.onnx")
    write_int8_cpu(calibrate(source, random_samples(4, 3, 64, 64), scratch), tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    points = zero_points(tmp_path / "int8.onnx")
    kernels = [numpy_helper.to_array(each) for each in graph.initializer if len(each.dims) == 4]

    assert any(point.dtype == np.uint8 for point in points)
    assert {kernel.dtype for kernel in kernels} == {np.dtype(np.int8)}
    assert max(np.abs(kernel.astype(int)).max() for kernel in kernels) <= 64


def test_convolutions_have_a_scale_for_each_channel(tmp_path, scratch):
    source = write_cnn(tmp_path / "cnn.onnx")
    write_int8_cpu(calibrate(source, random_samples(4, 3, 64, 64), scratch), tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    scales = {each.name: tuple(each.dims) for each in graph.initializer}

    assert scales["kernel2_scale"] == (64,)


def test_in_the_form_for_tensorrt_every_zero_point_is_zero_and_signed_and_biases_stay_fp32(tmp_path, scratch):
    write_int8_tensorrt(calibrate(DIGITS, digit_samples(), scratch), tmp_path / "int8.onnx")
    points = zero_points(tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    types = {each.name: each.data_type for each in graph.initializer}
    biases = {node.input[2] for node in graph.node if node.op_type in ("Conv", "Gemm")}

    assert len(points) >= 6
    assert all(point.dtype == np.int8 and not point.any() for point in points)
    assert {types[bias] for bias in biases} == {TensorProto.FLOAT}
    assert TensorProto.UINT8 not in types.values()
    assert TensorProto.INT32 not in types.values()
    assert operators(tmp_path / "int8.onnx").isdisjoint({"DynamicQuantizeLinear", "MatMulInteger"})


def test_a_calibration_set_of_nothing_is_refused(scratch):
    with pytest.raises(ConversionRefused, match="needs calibration data: found no sample") as caught:
        calibrate(DIGITS, [], scratch)

    assert caught.value.reason is Reason.SAMPLES
    assert "--calibration" in caught.value.hint


def test_calibration_data_that_is_not_finite_is_refused(scratch):
    broken = Sample("broken", {"pixel_values": np.full((1, 1, 32, 32), np.inf, dtype=np.float32)})
    with pytest.raises(ConversionRefused, match="expected finite values") as caught:
        calibrate(DIGITS, [*digit_samples(3), broken], scratch)

    assert caught.value.reason is Reason.SAMPLES


def test_ranges_cover_all_samples_not_only_the_last(tmp_path, scratch):
    source = write_mlp(tmp_path / "mlp.onnx", (4, 8, 2))
    samples = [Sample("", {"INPUT0": np.float32([row])}) for row in ([0, 5, 0, 0], [-7, 0, 0, 0], [0, 1, 0, 0])]
    ranges = calibrate(source, samples, scratch).ranges

    assert ranges["INPUT0"] == (-7, 5)


@pytest.mark.parametrize("form", ["dynamic", "cpu", "tensorrt"])
def test_a_graph_without_products_has_nothing_to_quantise(tmp_path, scratch, form):
    inputs, outputs = [tensor("INPUT0", "FP32", ["N", 4])], [tensor("OUTPUT0", "FP32", ["N", 4])]
    source = write_graph(tmp_path / "s.onnx", [helper.make_node("Exp", ["INPUT0"], ["OUTPUT0"])], inputs, outputs)
    with pytest.raises(ConversionRefused, match="nothing to quantise") as caught:
        _write(form, source, random_samples(2, 4), tmp_path / "int8.onnx", scratch)

    assert caught.value.reason is Reason.EXPORT_FAILED
    assert not (tmp_path / "int8.onnx").exists()


def test_delicate_networks_stay_fp32_between_their_products(tmp_path, scratch):
    random = np.random.default_rng(1)
    nodes = [
        helper.make_node("MatMul", ["INPUT0", "first"], ["product"]),
        helper.make_node("Mul", ["product", "product"], ["square"]),
        helper.make_node("Tanh", ["square"], ["bent"]),
        helper.make_node("MatMul", ["bent", "second"], ["OUTPUT0"]),
    ]
    weights = {"first": scaled(random, (16, 32), 16), "second": scaled(random, (32, 4), 32)}
    inputs, outputs = [tensor("INPUT0", "FP32", ["N", 16])], [tensor("OUTPUT0", "FP32", ["N", 4])]
    source = write_graph(tmp_path / "s.onnx", nodes, inputs, outputs, weights)
    write_int8_cpu(calibrate(source, random_samples(8, 16), scratch), tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    quantised = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}

    assert quantised == {"INPUT0", "bent"}


def test_a_bias_with_an_axis_too_many_is_no_obstacle(tmp_path, scratch):
    """A product and a sum with [1, N] become one Gemm with a bias of that shape; the quantiser stumbles over it."""
    random = np.random.default_rng(1)
    nodes = [
        helper.make_node("MatMul", ["INPUT0", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["OUTPUT0"]),
    ]
    weights = {"weights": scaled(random, (16, 8), 16), "bias": scaled(random, (1, 8), 8)}
    inputs, outputs = [tensor("INPUT0", "FP32", ["N", 16])], [tensor("OUTPUT0", "FP32", ["N", 8])]
    source = write_graph(tmp_path / "s.onnx", nodes, inputs, outputs, weights)
    samples = random_samples(16, 16)
    write_int8_cpu(calibrate(source, samples, scratch), tmp_path / "int8.onnx")
    rows = np.concatenate([sample.inputs["INPUT0"] for sample in samples])

    assert "Gemm" in operators(tmp_path / "int8.onnx")
    assert np.abs(answers(source, INPUT0=rows) - answers(tmp_path / "int8.onnx", INPUT0=rows)).max() < 0.2


@pytest.mark.parametrize("write", STATIC)
def test_graphs_of_operator_sets_before_13_get_one_scale_for_all_channels(tmp_path, scratch, write):
    model = onnx.load(write_cnn(tmp_path / "cnn.onnx"))
    model.opset_import[0].version = 11
    model.ir_version = 6
    onnx.save(model, tmp_path / "old.onnx")
    write(calibrate(tmp_path / "old.onnx", random_samples(4, 3, 64, 64), scratch), tmp_path / "int8.onnx")
    scales = {each.name: tuple(each.dims) for each in onnx.load(tmp_path / "int8.onnx").graph.initializer}

    assert OPSET > 13
    assert scales["kernel2_scale"] == ()


_CHILD = """
import sys
from pathlib import Path
from tests.convert.test_int8 import write_all
write_all(Path(sys.argv[1]))
"""


def write_all(folder):
    source = write_cnn(folder / "cnn.onnx")
    for form in ("dynamic", "cpu", "tensorrt"):
        (folder / form).mkdir()
        _write(form, source, random_samples(4, 3, 64, 64), folder / f"{form}.onnx", folder / form)


@pytest.mark.slow
def test_two_processes_in_two_places_give_the_same_bytes(tmp_path):
    for name, seed in (("first", "1"), ("second", "2")):
        (tmp_path / name).mkdir()
        subprocess.run(
            [sys.executable, "-c", _CHILD, tmp_path / name],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            check=True,
            timeout=60,
        )

    for form in ("dynamic", "cpu", "tensorrt"):
        file = f"{form}.onnx"
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def _write(form, source, samples, target, scratch):
    if form == "dynamic":
        write_int8_dynamic(source, target, scratch)
    else:
        write = write_int8_cpu if form == "cpu" else write_int8_tensorrt
        write(calibrate(source, samples, scratch), target)
