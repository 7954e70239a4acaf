"""What TensorRT's own parser and builder say of real graphs."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.convert.forms.fp16 import write_fp16
from appliance.convert.forms.int8 import calibrate, write_int8_cpu, write_int8_dynamic, write_int8_tensorrt
from appliance.convert.forms.tensorrt_parser import INSTALL_COMMAND, ParserVerdict, check_tensorrt
from appliance.model.engine import ShapeRange
from tests.convert.forms import DIGITS, random_samples
from tests.support.onnx_models import write_cnn

ROOT = Path(__file__).parents[2]
CNN_PROFILE = {"INPUT0": ShapeRange((1, 3, 64, 64), (4, 3, 64, 64), (8, 3, 64, 64))}
DIGITS_PROFILE = {"pixel_values": ShapeRange((1, 1, 32, 32), (4, 1, 32, 32), (8, 1, 32, 32))}


WITHOUT = """
from pathlib import Path
from appliance.convert.forms.tensorrt_parser import check_tensorrt
print(check_tensorrt(Path("model.onnx"), {}))
"""


def test_without_tensorrt_the_report_says_how_to_install_it():
    finder = "import importlib.util; importlib.util.find_spec = lambda name, package=None: None"
    said = subprocess.run(
        [sys.executable, "-c", f"{finder}{WITHOUT}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert said == f"not installed: to have the graph checked: {INSTALL_COMMAND}\n"


@pytest.mark.parametrize("form", ["fp32", "fp16", "tensorrt"])
def test_the_forms_meant_for_tensorrt_are_accepted(tmp_path, form):
    report = check_tensorrt(_written(form, tmp_path), CNN_PROFILE)

    assert report.verdict is ParserVerdict.ACCEPTED, report
    assert report.detail.startswith("TensorRT-RTX 1.")


@pytest.mark.parametrize(
    ("form", "reason"), [("cpu", "(QuantizeLinear): "), ("dynamic", "(DynamicQuantizeLinear): unsupported node")]
)
def test_the_forms_for_the_cpu_are_refused_with_the_node_and_the_reason(tmp_path, form, reason):
    report = check_tensorrt(_written(form, tmp_path), CNN_PROFILE)

    assert report.verdict is ParserVerdict.REFUSED
    assert "refuses form.onnx: node '" in report.detail
    assert reason in report.detail


def test_a_graph_that_cannot_be_built_for_its_shapes_is_refused_by_the_builder():
    upside_down = {"pixel_values": ShapeRange((8, 1, 32, 32), (4, 1, 32, 32), (1, 1, 32, 32))}
    report = check_tensorrt(DIGITS, upside_down)

    assert report.verdict is ParserVerdict.REFUSED


def test_a_file_that_is_no_graph_is_refused(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)))
    report = check_tensorrt(tmp_path / "noise.onnx", {})

    assert report.verdict is ParserVerdict.REFUSED


def test_too_little_memory_ends_the_child_only_and_decides_nothing():
    report = check_tensorrt(DIGITS, DIGITS_PROFILE, memory_bytes=1 << 20)

    assert report.verdict is ParserVerdict.UNDECIDED


def test_too_little_time_ends_the_child_only_and_decides_nothing():
    report = check_tensorrt(DIGITS, DIGITS_PROFILE, timeout_s=0.05)

    assert report.verdict is ParserVerdict.UNDECIDED
    assert "takes longer than 0.05 s" in report.detail


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
