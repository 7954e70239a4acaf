"""From what was tried to what this box can run: pure rules, and the sentences and remedies that go with them."""

from collections.abc import Sequence

from appliance.backends.cuda.gpu import Gpu
from appliance.backends.probe_model import KNOWN_GPUS
from appliance.backends.probe_report import (
    FlavourReport,
    MachineReport,
    OnnxRuntimeReport,
    Outcome,
    PathReport,
    Trial,
)

REINSTALL = "install again: pip install 'appliance[cpu]' (or 'appliance[gpu]' on an NVIDIA box)"
_INSTALL_RTX = "pip install 'appliance[tensorrt-rtx]'"
_INSTALL_FULL = "bring NVIDIA's wheels along: pip install --no-index --find-links DIR 'appliance[tensorrt]'"
_INSTALL_JETPACK = "sudo apt install tensorrt python3-libnvinfer"
_USE_CUDA = "use it: pip uninstall onnxruntime; pip install 'appliance[gpu]'"
_LOOK_AT_DRIVER = "look at the driver: nvidia-smi; then: appliance backends probe"
# GeForce and RTX GPUs since Turing, for which TensorRT-RTX is made; what an installed one builds for, it says itself.
_RTX_CAPABILITIES = ("7.5", "8.6", "8.9", "12.0", "12.1")


def judge_tensorrt(machine: MachineReport, flavours: Sequence[FlavourReport]) -> PathReport:
    """Say whether engines can be built and run here, and by which TensorRT."""
    working = [flavour for flavour in flavours if flavour.runs.passed]
    if machine.gpus and working and not machine.jetpack_problem:
        gpu = machine.gpus[0]
        where = f"{gpu.name} (compute capability {gpu.compute_capability})"
        return PathReport("tensorrt", usable=True, detail=f"{working[0].title} builds and runs engines on {where}")
    detail, remedy = _why_no_tensorrt(machine, flavours)
    return PathReport("tensorrt", usable=False, detail=detail, remedy=remedy)


def judge_cuda(machine: MachineReport, runtime: OnnxRuntimeReport | None, trial: Trial) -> PathReport:
    """Say whether ONNX Runtime computes through CUDA. `trial`: of its CUDA provider, if the build has one."""
    if runtime is None:
        return PathReport("cuda", usable=False, detail=trial.detail, remedy=trial.remedy)
    if trial.passed:
        where = machine.gpus[0].name if machine.gpus else "a GPU"
        return PathReport(
            "cuda", usable=True, detail=f"ONNX Runtime {runtime.version} computes through CUDA on {where}"
        )
    if machine.l4t:
        detail = f"ONNX Runtime {runtime.version} has no CUDA provider for Jetson; TensorRT is the path to its GPU"
        return PathReport("cuda", usable=False, detail=detail, remedy=_INSTALL_JETPACK)
    if trial.outcome is Outcome.NO and machine.gpus:
        detail = f"ONNX Runtime {runtime.version} does not compute through CUDA: {trial.detail}"
        return PathReport("cuda", usable=False, detail=detail, remedy=trial.remedy or _LOOK_AT_DRIVER)
    if machine.gpus:
        detail = f"ONNX Runtime {runtime.version} has no CUDA provider"
        return PathReport("cuda", usable=False, detail=detail, remedy=_USE_CUDA)
    return PathReport("cuda", usable=False, detail=machine.problem, remedy=machine.remedy)


def judge_cpu(runtime: OnnxRuntimeReport | None, trial: Trial) -> PathReport:
    """Say whether ONNX Runtime computes on the CPU."""
    if runtime is not None and trial.passed:
        return PathReport("cpu", usable=True, detail=f"ONNX Runtime {runtime.version} computes on the CPU")
    return PathReport("cpu", usable=False, detail=trial.detail, remedy=trial.remedy or REINSTALL)


def name_limits(flavour: FlavourReport, machine: MachineReport) -> str:
    """Say in words that an installed TensorRT is not made for this box's GPU; '' if it is, or if nobody knows."""
    if flavour.name != "tensorrt-rtx":
        return ""
    if machine.l4t:
        return "TensorRT-RTX does not exist for Jetson: its TensorRT comes with JetPack"
    if not machine.gpus or not flavour.targets or machine.gpus[0].compute_capability in flavour.targets:
        return ""
    return (
        f"TensorRT-RTX has no target for {_capability(machine.gpus[0])}, only for {', '.join(flavour.targets)}: "
        "it is made for GeForce and RTX GPUs"
    )


def _why_no_tensorrt(machine: MachineReport, flavours: Sequence[FlavourReport]) -> tuple[str, str]:
    if machine.jetpack_problem:
        return f"this JetPack cannot be used: {machine.jetpack_problem}", "install JetPack 7: NVIDIA SDK Manager"
    if not flavours:
        if not machine.gpus:
            return machine.problem, machine.remedy
        return "neither TensorRT nor TensorRT-RTX is installed", _install_remedy(machine)
    reasons = [_why_not(flavour, machine) for flavour in flavours]
    return "; ".join(detail for detail, _ in reasons), next((remedy for _, remedy in reasons if remedy), "")


def _why_not(flavour: FlavourReport, machine: MachineReport) -> tuple[str, str]:
    """Name the first step that failed, and what to do."""
    limits = name_limits(flavour, machine)
    for verb, trial in (("be loaded", flavour.loads), ("build an engine", flavour.builds)):
        if trial.outcome is Outcome.NO and (machine.gpus or verb == "be loaded"):
            remedy = _install_remedy(machine) if limits else trial.remedy or _install_remedy(machine)
            return f"{flavour.title} cannot {verb}: {_joined(trial.detail, limits)}", remedy
    if not machine.gpus:
        able = "builds engines" if flavour.builds.passed else "is installed"
        return f"{flavour.title} {able}, but nothing can run them: {machine.problem}", machine.remedy
    remedy = _install_remedy(machine) if limits else flavour.runs.remedy or _LOOK_AT_DRIVER
    return f"{flavour.title} cannot run an engine: {_joined(flavour.runs.detail, limits)}", remedy


def _install_remedy(machine: MachineReport) -> str:
    """The command that brings the TensorRT that is made for this box's GPU."""
    if machine.l4t:
        return _INSTALL_JETPACK
    made_for_rtx = bool(machine.gpus) and machine.gpus[0].compute_capability in _RTX_CAPABILITIES
    return _INSTALL_RTX if made_for_rtx or not machine.gpus else _INSTALL_FULL


def _capability(gpu: Gpu) -> str:
    known = KNOWN_GPUS.get(gpu.compute_capability)
    return f"compute capability {gpu.compute_capability}{f' ({known})' if known else ''}"


def _joined(detail: str, limits: str) -> str:
    return f"{detail} ({limits})" if limits else detail
