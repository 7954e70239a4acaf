"""What this box can run: real processes, real libraries, and installations that are broken in every way."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from appliance.backends.probe import FlavourReport, Outcome, ProbeReport, probe
from appliance.backends.probe_model import EXPECTED, GIVEN, MODEL
from appliance.backends.probe_process import try_in_process
from appliance.errors import Cancelled
from tests.support import broken_packages as broken
from tests.support.broken_packages import search_path, write_package

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def report() -> ProbeReport:
    return probe()


def rtx_of(found: ProbeReport) -> FlavourReport:
    return next(flavour for flavour in found.flavours if flavour.name == "tensorrt-rtx")


def with_tensorrt_rtx(folder: Path, code: str, timeout_s: float = 60) -> ProbeReport:
    return probe(timeout_s, packages=search_path(write_package(folder, "tensorrt_rtx", code)))


def test_the_model_is_what_its_description_says() -> None:
    model = onnx.load_from_string(MODEL)
    onnx.checker.check_model(model)
    (found,) = ReferenceEvaluator(model).run(None, {"x": np.array(GIVEN, dtype=np.float32)})

    assert tuple(found.tolist()) == EXPECTED
    assert len(model.graph.node) == 2


def test_the_cpu_computes_and_telemetry_is_off(report: ProbeReport) -> None:
    assert report.path("cpu").usable
    assert report.onnxruntime is not None
    assert report.onnxruntime.telemetry_off
    assert report.onnxruntime.version in report.path("cpu").detail


def test_paths_come_with_the_quickest_first(report: ProbeReport) -> None:
    assert [path.path for path in report.paths] == ["tensorrt", "cuda", "cpu"]


def test_every_path_that_cannot_be_used_says_why_and_what_to_do(report: ProbeReport) -> None:
    for path in report.paths:
        assert path.detail
        assert path.usable or path.remedy


def test_tensorrt_rtx_builds_an_engine_without_a_gpu(report: ProbeReport) -> None:
    flavour = rtx_of(report)

    assert flavour.loads.passed
    assert flavour.builds.passed
    assert "8.9" in flavour.targets


def test_a_gpu_is_named_for_which_engines_can_be_built() -> None:
    assert "12.0" in rtx_of(probe(compute_capability="12.0")).builds.detail


def test_a_compute_capability_that_tensorrt_rtx_lacks_is_named_with_those_that_it_has(report: ProbeReport) -> None:
    if report.gpus:
        pytest.skip("engines are built for the GPU that is there")

    builds = rtx_of(probe(compute_capability="9.0")).builds

    assert builds.outcome is Outcome.NO
    assert "compute capability 9.0" in builds.detail
    assert "8.9, 12.0" in builds.detail


@pytest.mark.gpu
def test_what_is_installed_for_the_gpu_computes_on_it(report: ProbeReport) -> None:
    if not report.gpus:
        pytest.skip("no GPU")

    assert report.driver
    assert report.path("tensorrt").usable, report.path("tensorrt").detail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (broken.CRASH, "crashed (SIGSEGV), while loading tensorrt-rtx"),
        (broken.KILLED, "was killed (SIGKILL), while loading tensorrt-rtx"),
        (broken.LEAVE, "exit status 7, while loading tensorrt-rtx: libnvinfer: no kernel image"),
        (broken.WRITE_RUBBISH + broken.CRASH, "something that is no answer, while loading tensorrt-rtx"),
        (broken.MISSING_LIBRARY, "libnvinfer.so.10: cannot open shared object file"),
        (broken.WRITE_FOREVER, "wrote more than 256 KiB"),
        ("", "tensorrt-rtx"),  # an empty package
    ],
    ids=["crash", "killed", "exit", "rubbish", "missing library", "endless", "empty"],
)
def test_a_broken_tensorrt_is_a_sentence_and_disturbs_nothing_else(tmp_path: Path, code: str, said: str) -> None:
    found = with_tensorrt_rtx(tmp_path, code)

    loads = rtx_of(found).loads
    assert loads.outcome is Outcome.NO
    assert said in loads.detail
    assert rtx_of(found).builds.outcome is Outcome.UNTRIED
    assert not found.path("tensorrt").usable
    assert found.path("tensorrt").remedy
    assert found.path("cpu").usable


@pytest.mark.slow
@pytest.mark.parametrize("code", [broken.HANG, broken.COMPLAIN_FOREVER], ids=["silent", "complaining"])
def test_a_tensorrt_that_hangs_is_ended(tmp_path: Path, code: str) -> None:
    before_s = time.monotonic()

    found = with_tensorrt_rtx(tmp_path, code, timeout_s=3)

    assert "takes longer than 3 s, while loading tensorrt-rtx; it was ended" in rtx_of(found).loads.detail
    assert time.monotonic() - before_s < 20


def test_an_answer_counts_if_its_process_crashes_at_exit(tmp_path: Path) -> None:
    code = broken.CRASH_AT_EXIT + broken.THEN_THE_REAL_ONNXRUNTIME

    found = probe(packages=search_path(write_package(tmp_path, "onnxruntime", code)))

    assert found.path("cpu").usable, found.path("cpu").detail


def test_a_broken_onnx_runtime_leaves_tensorrt_usable(tmp_path: Path) -> None:
    found = probe(packages=search_path(write_package(tmp_path, "onnxruntime", broken.CRASH)))

    assert found.onnxruntime is None
    assert "crashed (SIGSEGV), while importing ONNX Runtime" in found.path("cpu").detail
    assert found.path("cpu").remedy
    assert rtx_of(found).builds.passed


def test_a_missing_runtime_names_the_command_that_installs_it(tmp_path: Path) -> None:
    found = probe(packages=search_path(write_package(tmp_path, "onnxruntime", "raise ImportError('no onnxruntime')")))

    assert "no onnxruntime" in found.path("cpu").detail
    assert "pip install 'appliance[cpu]'" in found.path("cpu").remedy


def test_rubbish_before_a_good_answer_does_not_void_it(tmp_path: Path) -> None:
    code = broken.WRITE_RUBBISH + broken.THEN_THE_REAL_ONNXRUNTIME
    found = probe(packages=search_path(write_package(tmp_path, "onnxruntime", code)))

    assert found.path("cpu").usable, found.path("cpu").detail


def test_an_unknown_subject_is_reported_and_not_raised() -> None:
    answer = try_in_process(["tensorrt", "nonesuch", "8.9"], "nonesuch", 60)

    assert answer.problem == ""
    assert "nonesuch is not installed" in answer.facts["loads"]["detail"]


@pytest.mark.slow
def test_nothing_that_was_tried_is_still_running(tmp_path: Path) -> None:
    marker = tmp_path / "running"
    code = f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    with_tensorrt_rtx(tmp_path, code, timeout_s=3)

    assert not Path(f"/proc/{marker.read_text()}").exists()


@pytest.mark.slow
def test_a_probe_that_hangs_can_be_cancelled(tmp_path: Path) -> None:
    packages = search_path(write_package(tmp_path, "tensorrt_rtx", broken.HANG))
    cancelled = threading.Event()
    threading.Timer(2, cancelled.set).start()
    before_s = time.monotonic()

    with pytest.raises(Cancelled):
        probe(packages=packages, cancelled=cancelled)

    assert time.monotonic() - before_s < 10


def test_probing_loads_no_runtime_into_this_process() -> None:
    code = "import sys; from appliance.backends.probe import probe; probe(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert {"onnxruntime", "tensorrt", "tensorrt_rtx"} & set(loaded.split()) == set()
