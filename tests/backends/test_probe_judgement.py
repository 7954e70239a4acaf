"""What is said of boxes that no test machine is: the rules are pure."""

import pytest

from appliance.backends.cuda.gpu import Gpu
from appliance.backends.probe import FlavourReport, MachineReport, OnnxRuntimeReport, Outcome, Trial
from appliance.backends.probe_judgement import judge_cpu, judge_cuda, judge_tensorrt, name_limits

TARGETS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
YES = Trial(Outcome.YES, "it works")
UNTRIED = Trial(Outcome.UNTRIED, "")
NO_DRIVER = MachineReport(problem="no NVIDIA driver on this machine", remedy="install the NVIDIA driver")
ORIN = MachineReport(
    gpus=(Gpu(0, "GPU-1", "Orin", "8.7", 64 << 30, integrated=True),), driver="580.00", cuda="13.0", l4t="38.2.0"
)
RUNTIME = OnnxRuntimeReport("1.28.0", ("CPUExecutionProvider",), telemetry_off=True)


def box(name: str, compute_capability: str) -> MachineReport:
    gpu = Gpu(0, "GPU-1", name, compute_capability, 24 << 30, integrated=False)
    return MachineReport(gpus=(gpu,), driver="580.95.05", cuda="13.0")


L4, H100 = box("NVIDIA L4", "8.9"), box("NVIDIA H100", "9.0")


def rtx(loads: Trial = YES, builds: Trial = YES, runs: Trial = YES) -> FlavourReport:
    return FlavourReport("tensorrt-rtx", "1.7.1.116", loads, builds, runs, TARGETS)


def full(loads: Trial = YES, builds: Trial = YES, runs: Trial = YES) -> FlavourReport:
    return FlavourReport("tensorrt", "10.16.1.11", loads, builds, runs)


def no(detail: str, remedy: str = "") -> Trial:
    return Trial(Outcome.NO, detail, remedy)


def test_tensorrt_that_works_says_which_version_on_which_gpu() -> None:
    path = judge_tensorrt(L4, [full(), rtx()])

    assert path.usable
    assert path.detail == "TensorRT 10.16.1.11 builds and runs engines on NVIDIA L4 (compute capability 8.9)"


def test_a_broken_tensorrt_does_not_hide_one_that_works() -> None:
    path = judge_tensorrt(L4, [full(no("libnvinfer.so.10 is missing"), UNTRIED, UNTRIED), rtx()])

    assert path.usable
    assert path.detail.startswith("TensorRT-RTX 1.7.1.116 ")


@pytest.mark.parametrize(
    ("machine", "remedy"),
    [
        (L4, "pip install 'appliance[tensorrt-rtx]'"),
        (H100, "--find-links DIR 'appliance[tensorrt]'"),
        (ORIN, "sudo apt install tensorrt python3-libnvinfer"),
        (NO_DRIVER, "install the NVIDIA driver"),
    ],
    ids=["rtx", "data centre", "jetson", "no gpu"],
)
def test_without_tensorrt_the_remedy_is_the_one_for_this_gpu(machine: MachineReport, remedy: str) -> None:
    path = judge_tensorrt(machine, [])

    assert not path.usable
    assert remedy in path.remedy


def test_tensorrt_rtx_on_a_data_centre_gpu_is_explained_in_words() -> None:
    path = judge_tensorrt(H100, [rtx(builds=no("no engine can be built"), runs=UNTRIED)])

    assert not path.usable
    assert "cannot build an engine: no engine can be built" in path.detail
    assert "has no target for compute capability 9.0 (H100, H200, GH200)" in path.detail
    assert "appliance[tensorrt]" in path.remedy


def test_tensorrt_rtx_that_runs_on_a_gpu_without_a_target_is_believed() -> None:
    path = judge_tensorrt(H100, [rtx()])

    assert path.usable
    assert "no target" in name_limits(rtx(), H100)


def test_tensorrt_rtx_on_a_jetson_is_explained_in_words() -> None:
    path = judge_tensorrt(ORIN, [rtx(no("wrong machine"), UNTRIED, UNTRIED)])

    assert "TensorRT-RTX does not exist for Jetson" in path.detail
    assert path.remedy == "sudo apt install tensorrt python3-libnvinfer"


def test_a_wrong_jetpack_is_named_before_anything_else() -> None:
    machine = MachineReport(gpus=ORIN.gpus, l4t="36.4.0", jetpack_problem="found JetPack 6, expected JetPack 7")

    path = judge_tensorrt(machine, [full()])

    assert not path.usable
    assert "found JetPack 6" in path.detail


def test_an_engine_that_computes_nonsense_is_not_usable() -> None:
    path = judge_tensorrt(L4, [rtx(runs=no("it computed [0.0, 0.0], expected [-3.0, 4.0]"))])

    assert not path.usable
    assert "computed [0.0, 0.0]" in path.detail
    assert path.remedy


def test_without_a_gpu_it_is_said_that_engines_can_still_be_built() -> None:
    path = judge_tensorrt(NO_DRIVER, [rtx(runs=UNTRIED)])

    assert "builds engines, but nothing can run them: no NVIDIA driver" in path.detail


def test_cuda_that_falls_back_to_the_cpu_is_not_usable() -> None:
    path = judge_cuda(L4, RUNTIME, no("ONNX Runtime fell back to CPUExecutionProvider"))

    assert not path.usable
    assert "fell back" in path.detail


@pytest.mark.parametrize(
    ("machine", "remedy"),
    [(L4, "appliance[gpu]"), (ORIN, "python3-libnvinfer"), (NO_DRIVER, "install the NVIDIA driver")],
    ids=["gpu", "jetson", "no gpu"],
)
def test_without_a_cuda_provider_the_remedy_is_the_one_for_this_box(machine: MachineReport, remedy: str) -> None:
    path = judge_cuda(machine, RUNTIME, UNTRIED)

    assert not path.usable
    assert remedy in path.remedy


def test_cuda_that_computes_says_where() -> None:
    assert judge_cuda(L4, RUNTIME, YES).detail == "ONNX Runtime 1.28.0 computes through CUDA on NVIDIA L4"


def test_a_runtime_that_cannot_be_imported_blocks_cuda_and_cpu_with_its_reason() -> None:
    trial = no("trying ONNX Runtime crashed (SIGSEGV)")

    assert "SIGSEGV" in judge_cuda(L4, None, trial).detail
    assert "SIGSEGV" in judge_cpu(None, trial).detail
    assert judge_cpu(None, trial).remedy
