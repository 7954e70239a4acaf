"""`appliance backends probe`, and what `doctor` makes of a probe."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from appliance.backends.cuda.gpu import Gpu
from appliance.backends.probe import (
    FlavourReport,
    MachineReport,
    OnnxRuntimeReport,
    Outcome,
    PathReport,
    ProbeReport,
    Trial,
)
from appliance.cli.backend_checks import judge_probe
from appliance.cli.check import Check, Result
from tests.cli.terminal import PROGRAM, ROOT, TIMEOUT_S, WIDTH, appliance, clean_environment
from tests.support.broken_packages import write_package

GPU = Gpu(0, "GPU-1", "NVIDIA L4", "8.9", 24 << 30, integrated=False)
YES, NO = Trial(Outcome.YES, "it works"), Trial(Outcome.NO, "libnvinfer is missing", "install it")
CPU = PathReport("cpu", usable=True, detail="computes")
NO_CUDA = PathReport("cuda", usable=False, detail="no CUDA provider", remedy="install the other wheel")
NO_TENSORRT = PathReport("tensorrt", usable=False, detail="cannot be loaded", remedy="install TensorRT")


def checks_of(
    machine: MachineReport,
    *flavours: FlavourReport,
    tensorrt: PathReport = NO_TENSORRT,
    cuda: PathReport = NO_CUDA,
    providers: tuple[str, ...] = ("CPUExecutionProvider",),
    has_device: bool = True,
) -> dict[str, Check]:
    runtime = OnnxRuntimeReport("1.28.0", providers, telemetry_off=True)
    report = ProbeReport((tensorrt, cuda, CPU), machine, flavours, runtime)
    return {check.name: check for check in judge_probe(report, has_device=has_device)}


def test_it_shows_every_path_within_eighty_columns() -> None:
    result = appliance("backends", "probe")

    assert result.code == 0
    assert result.widest <= WIDTH
    assert [line.split()[0] for line in result.out.splitlines() if line.startswith(("tensorrt ", "cuda", "cpu"))] == [
        "tensorrt",
        "cuda",
        "cpu",
    ]


@pytest.mark.slow
def test_ctrl_c_ends_a_probe_that_hangs_with_all_its_processes(tmp_path: Path) -> None:
    marker = tmp_path / "running"
    hang = f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    environment = clean_environment() | {"PYTHONPATH": str(write_package(tmp_path, "tensorrt_rtx", hang))}
    with subprocess.Popen(
        [*PROGRAM, "backends", "probe"], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline_s = time.monotonic() + TIMEOUT_S
        while not (marker.exists() and marker.read_text()):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)

        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)

    assert process.returncode not in (0, None)
    assert not Path(f"/proc/{marker.read_text()}").exists()


def test_programs_get_paths_and_every_trial() -> None:
    document = appliance("backends", "probe", "--json").json

    assert [path["path"] for path in document["paths"]] == ["tensorrt", "cuda", "cpu"]
    assert document["paths"][2]["usable"]
    assert document["onnxruntime"]["telemetry_off"]
    (flavour,) = (each for each in document["tensorrt"] if each["flavour"] == "tensorrt-rtx")
    assert flavour["loads"]["outcome"] == flavour["builds"]["outcome"] == "yes"


def test_a_gpu_that_works_is_all_well() -> None:
    usable = PathReport("tensorrt", usable=True, detail="TensorRT 10.16 builds and runs engines on NVIDIA L4")
    machine = MachineReport(gpus=(GPU,), driver="580.95.05", cuda="13.0")

    found = checks_of(machine, FlavourReport("tensorrt", "10.16", YES, YES, YES), tensorrt=usable)

    assert {check.result for check in found.values()} == {Result.OK}
    assert "usable with TensorRT" in found["gpu"].finding
    assert "580.95.05" in found["driver"].finding


def test_a_gpu_that_nothing_uses_is_a_warning_with_the_way_to_use_it() -> None:
    found = checks_of(MachineReport(gpus=(GPU,), driver="580.95.05", cuda="13.0"))

    assert found["gpu"].result is Result.WARNING
    assert "the CPU only" in found["gpu"].finding
    assert found["tensorrt"].result is Result.WARNING
    assert found["gpu"].remedy == found["tensorrt"].remedy == "install TensorRT"


def test_a_device_whose_driver_does_not_answer_is_an_error() -> None:
    found = checks_of(MachineReport(problem="driver and library differ", remedy="reboot"))

    assert found["driver"] == Check("driver", Result.ERROR, "driver and library differ", "reboot")
    assert found["gpu"].result is Result.WARNING


def test_a_box_without_a_gpu_is_well() -> None:
    found = checks_of(MachineReport(problem="no driver", remedy="install it"), has_device=False)

    assert {check.result for check in found.values()} == {Result.OK}


def test_a_tensorrt_that_cannot_be_loaded_is_an_error_even_without_a_gpu() -> None:
    broken = FlavourReport("tensorrt", "10.16", NO, YES, YES)

    found = checks_of(MachineReport(problem="no driver", remedy="install it"), broken, has_device=False)

    assert found["tensorrt"].result is Result.ERROR


def test_a_wrong_jetpack_is_an_error() -> None:
    found = checks_of(MachineReport(gpus=(GPU,), l4t="36.4.0", jetpack_problem="found JetPack 6, expected 7"))

    assert found["jetpack"].result is Result.ERROR
    assert "JetPack 7" in found["jetpack"].remedy


@pytest.mark.parametrize("providers", [("CUDAExecutionProvider", "CPUExecutionProvider")])
def test_a_gpu_build_of_onnx_runtime_that_cannot_use_the_gpu_is_an_error(providers: tuple[str, ...]) -> None:
    found = checks_of(MachineReport(gpus=(GPU,), driver="580", cuda="13.0"), providers=providers)

    assert found["onnxruntime"].result is Result.ERROR
    assert "not with CUDA" in found["onnxruntime"].finding
