"""What `appliance doctor` says of GPU, driver, JetPack, TensorRT and ONNX Runtime: the probe, judged line by line."""

from pathlib import Path

from appliance.backends.probe import MachineReport, OnnxRuntimeReport, PathReport, ProbeReport, probe
from appliance.backends.probe_judgement import REINSTALL, name_limits
from appliance.cli.check import Check, Result
from appliance.cli.output import format_size
from appliance.errors import ApplianceError

_NVIDIA_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/nvhost-gpu"), Path("/dev/nvmap"))
_LOOK_AT_DRIVER = "look at the driver: nvidia-smi"


def checks_of_backends() -> list[Check]:
    """Try what this box can run. Takes seconds, minutes where something hangs."""
    try:
        report = probe()
    except ApplianceError as error:
        return [Check("backends", Result.ERROR, error.message, error.hint)]
    devices = [path for path in _NVIDIA_DEVICES if path.exists()]
    return judge_probe(report, has_device=bool(devices))


def judge_probe(report: ProbeReport, *, has_device: bool) -> list[Check]:
    """Write one check for each part. `has_device`: the system has NVIDIA device files, whatever the driver says."""
    checks = [_check_onnxruntime(report)]
    checks += [_check_gpu(report, has_device=has_device), _check_driver(report.machine, has_device=has_device)]
    checks += [_check_jetpack(report.machine), _check_tensorrt(report)]
    if report.onnxruntime is not None:
        checks.append(_check_telemetry(report.onnxruntime))
    return checks


def _check_onnxruntime(report: ProbeReport) -> Check:
    cpu, cuda = report.path("cpu"), report.path("cuda")
    if not cpu.usable:
        return Check("onnxruntime", Result.ERROR, cpu.detail, cpu.remedy)
    assert report.onnxruntime is not None
    version, providers = report.onnxruntime.version, report.onnxruntime.providers
    has_cuda = "CUDAExecutionProvider" in providers
    if has_cuda and not cuda.usable:
        finding = f"{version} computes with CPUExecutionProvider, but not with CUDA: {cuda.detail}"
        return Check("onnxruntime", Result.ERROR, finding, f"{cuda.remedy or _LOOK_AT_DRIVER}; {REINSTALL}")
    computing = ["CPUExecutionProvider", *(["CUDAExecutionProvider"] if has_cuda else [])]
    return Check("onnxruntime", Result.OK, f"{version} computes with {', '.join(computing)}")


def _check_gpu(report: ProbeReport, *, has_device: bool) -> Check:
    usable = [path for path in report.paths if path.usable and path.path != "cpu"]
    described = ", ".join(
        f"{gpu.name} (compute capability {gpu.compute_capability}, {format_size(gpu.total_bytes)})"
        for gpu in report.gpus
    )
    if usable:
        return Check("gpu", Result.OK, f"{described or 'CUDA computes'}: usable with {_names(usable)}")
    if report.gpus or has_device:
        finding = f"there is an NVIDIA GPU, but models run on the CPU only{f': {described}' if described else ''}"
        blocked = [path for path in report.paths if path.remedy and path.path != "cpu"]
        return Check("gpu", Result.WARNING, finding, blocked[0].remedy if blocked else _LOOK_AT_DRIVER)
    return Check("gpu", Result.OK, "none; models run on the CPU")


def _check_driver(machine: MachineReport, *, has_device: bool) -> Check:
    if machine.gpus:
        version = machine.driver or "of unknown version"
        return Check("driver", Result.OK, f"NVIDIA driver {version}, CUDA up to {machine.cuda}")
    if has_device or machine.driver:
        return Check("driver", Result.ERROR, machine.problem, machine.remedy or _LOOK_AT_DRIVER)
    return Check("driver", Result.OK, "no NVIDIA driver, and no device that would need one")


def _check_jetpack(machine: MachineReport) -> Check:
    if machine.jetpack_problem:
        remedy = "install JetPack 7 or newer with NVIDIA SDK Manager; until then models run on the CPU"
        return Check("jetpack", Result.ERROR, machine.jetpack_problem, remedy)
    if machine.l4t:
        return Check("jetpack", Result.OK, f"Jetson Linux {machine.l4t}")
    return Check("jetpack", Result.OK, "this is no Jetson")


def _check_tensorrt(report: ProbeReport) -> Check:
    path = report.path("tensorrt")
    if path.usable:
        limits = [limit for flavour in report.flavours if (limit := name_limits(flavour, report.machine))]
        return Check("tensorrt", Result.OK, "; ".join([path.detail, *limits]))
    broken = [flavour for flavour in report.flavours if not flavour.loads.passed]
    if broken:
        return Check("tensorrt", Result.ERROR, path.detail, path.remedy)
    if report.gpus:
        return Check("tensorrt", Result.WARNING, path.detail, path.remedy)
    titles = ", ".join(
        f"{flavour.title} ({'builds engines' if flavour.builds.passed else 'builds none'})"
        for flavour in report.flavours
    )
    return Check("tensorrt", Result.OK, f"{titles or 'not installed'}; there is no GPU for it")


def _check_telemetry(runtime: OnnxRuntimeReport) -> Check:
    if not runtime.telemetry_off:
        return Check("telemetry", Result.ERROR, "ORT_DISABLE_TELEMETRY is not in effect", REINSTALL)
    return Check("telemetry", Result.OK, "ORT_DISABLE_TELEMETRY=1 before ONNX Runtime is loaded")


def _names(paths: list[PathReport]) -> str:
    written = {"tensorrt": "TensorRT", "cuda": "ONNX Runtime through CUDA"}
    return ", ".join(written[path.path] for path in paths)
