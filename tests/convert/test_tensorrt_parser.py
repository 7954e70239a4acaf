"""What TensorRT's own parser says of real graphs; the real ones need the extra [tensorrt-rtx]."""

import importlib.util

import pytest

from appliance.convert.exported_model import ShapeProfile
from appliance.convert.forms.fp16 import write_fp16
from appliance.convert.forms.int8 import calibrate, write_int8_cpu, write_int8_dynamic, write_int8_tensorrt
from appliance.convert.forms.tensorrt_parser import INSTALL_COMMAND, ParserVerdict, check_tensorrt
from tests.convert.forms import DIGITS, random_samples
from tests.support.onnx_models import write_cnn

INSTALLED = importlib.util.find_spec("tensorrt_rtx") is not None
needs_tensorrt = pytest.mark.skipif(not INSTALLED, reason="needs the extra [tensorrt-rtx]")
CNN_PROFILE = {"INPUT0": ShapeProfile((1, 3, 64, 64), (4, 3, 64, 64), (8, 3, 64, 64))}
DIGITS_PROFILE = {"pixel_values": ShapeProfile((1, 1, 32, 32), (4, 1, 32, 32), (8, 1, 32, 32))}


@pytest.mark.skipif(INSTALLED, reason="needs an environment without tensorrt-rtx")
def test_without_tensorrt_the_report_says_how_to_install_it():
    report = check_tensorrt(DIGITS, DIGITS_PROFILE)

    assert report.verdict is ParserVerdict.NOT_INSTALLED
    assert INSTALL_COMMAND in report.detail


@needs_tensorrt
@pytest.mark.parametrize("form", ["fp32", "fp16", "tensorrt"])
def test_the_forms_meant_for_tensorrt_are_accepted(tmp_path, form):
    report = check_tensorrt(_written(form, tmp_path), CNN_PROFILE)

    assert report.verdict is ParserVerdict.ACCEPTED, report
    assert report.detail.startswith("TensorRT-RTX 1.")


@needs_tensorrt
@pytest.mark.parametrize(
    ("form", "reason"), [("cpu", "(QuantizeLinear): "), ("dynamic", "(DynamicQuantizeLinear): unsupported node")]
)
def test_the_forms_for_the_cpu_are_refused_with_the_node_and_the_reason(tmp_path, form, reason):
    report = check_tensorrt(_written(form, tmp_path), CNN_PROFILE)

    assert report.verdict is ParserVerdict.REFUSED
    assert report.detail.startswith("node '")
    assert reason in report.detail


@needs_tensorrt
def test_a_graph_that_cannot_be_built_for_its_shapes_is_refused_by_the_builder():
    upside_down = {"pixel_values": ShapeProfile((8, 1, 32, 32), (4, 1, 32, 32), (1, 1, 32, 32))}
    report = check_tensorrt(DIGITS, upside_down)

    assert report.verdict is ParserVerdict.REFUSED


@needs_tensorrt
def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)))
    report = check_tensorrt(tmp_path / "noise.onnx", {})

    assert report.verdict is ParserVerdict.REFUSED


@needs_tensorrt
def test_too_little_memory_ends_the_child_only_and_decides_nothing():
    report = check_tensorrt(DIGITS, DIGITS_PROFILE, memory_bytes=1 << 20)

    assert report.verdict is ParserVerdict.UNDECIDED


@needs_tensorrt
def test_too_little_time_ends_the_child_only_and_decides_nothing():
    report = check_tensorrt(DIGITS, DIGITS_PROFILE, timeout_s=0.05)

    assert (report.verdict, report.detail) == (ParserVerdict.UNDECIDED, "it takes longer than 0.05 s")


@needs_tensorrt
def test_a_check_leaves_no_files_behind(tmp_path):
    file = write_cnn(tmp_path / "cnn.onnx")
    check_tensorrt(file, CNN_PROFILE)

    assert list(tmp_path.iterdir()) == [file]


def _written(form, folder):
    source, target = write_cnn(folder / "cnn.onnx"), folder / "form.onnx"
    samples = random_samples(4, 3, 64, 64)
    match form:
        case "fp32":
            return source
        case "fp16":
            write_fp16(source, target, folder)
        case "dynamic":
            write_int8_dynamic(source, target, folder)
        case "cpu":
            write_int8_cpu(calibrate(source, samples, folder), target)
        case "tensorrt":
            write_int8_tensorrt(calibrate(source, samples, folder), target)
    return target
