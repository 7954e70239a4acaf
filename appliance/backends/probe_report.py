"""What a probe found: plain values, for the daemon, the command line and `scripts/gpu-check` alike.

Sentences begin with a name or a small letter and have no full stop; a remedy is the next thing to type or do.
"""

from dataclasses import dataclass
from enum import Enum

from appliance.backends.cuda.gpu import Gpu


class Outcome(Enum):
    """How one step of a trial ended."""

    YES = "yes"
    NO = "no"
    UNTRIED = "untried"  # a step before it failed, or something that it needs is not there


@dataclass(frozen=True, slots=True)
class Trial:
    """One step that was tried. `detail`: what came of it, or why not."""

    outcome: Outcome
    detail: str
    remedy: str = ""

    @property
    def passed(self) -> bool:
        """Whether it worked."""
        return self.outcome is Outcome.YES


@dataclass(frozen=True, slots=True)
class FlavourReport:
    """One TensorRT that is installed: does its library load, does an engine build, does the engine compute?"""

    name: str  # "tensorrt" or "tensorrt-rtx"
    version: str  # of the package; the library's own stands in `loads`
    loads: Trial
    builds: Trial
    runs: Trial
    targets: tuple[str, ...] = ()  # compute capabilities that it builds for by name, "8.9"; empty: only this GPU's

    @property
    def title(self) -> str:
        """Its name as people write it, with the version."""
        return f"{'TensorRT-RTX' if self.name == 'tensorrt-rtx' else 'TensorRT'} {self.version}"


@dataclass(frozen=True, slots=True)
class OnnxRuntimeReport:
    """What ONNX Runtime says of itself."""

    version: str
    providers: tuple[str, ...]  # that its build has, usable or not
    telemetry_off: bool  # ORT_DISABLE_TELEMETRY=1 stood before the import


@dataclass(frozen=True, slots=True)
class MachineReport:
    """The GPUs and what stands below TensorRT and ONNX Runtime. `problem`: why no GPU can be reached."""

    gpus: tuple[Gpu, ...] = ()
    driver: str = ""  # of the kernel module that is loaded, "580.95.05"
    cuda: str = ""  # the newest CUDA that the driver supports, "13.0"
    l4t: str = ""  # Jetson's release, "38.2.0"
    jetpack_problem: str = ""
    problem: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class PathReport:
    """One way of computing: "tensorrt", "cuda" or "cpu"."""

    path: str
    usable: bool
    detail: str  # what computes (versions, device), or why not
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What this box can run, and why not the rest."""

    paths: tuple[PathReport, ...]  # the quickest first
    machine: MachineReport
    flavours: tuple[FlavourReport, ...]  # the full TensorRT first
    onnxruntime: OnnxRuntimeReport | None  # None: it cannot be imported, and the path "cpu" says why

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """GPUs that the driver shows, in CUDA's order."""
        return self.machine.gpus

    @property
    def driver(self) -> str:
        """Version of the NVIDIA driver, '' if none is loaded."""
        return self.machine.driver

    @property
    def l4t(self) -> str:
        """Release of Jetson Linux, '' elsewhere."""
        return self.machine.l4t

    def path(self, name: str) -> PathReport:
        """Return one path by its name."""
        return next(path for path in self.paths if path.path == name)
