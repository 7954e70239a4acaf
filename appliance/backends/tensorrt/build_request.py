"""What an engine is built from, how far the build is, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

from appliance.model.engine import Profile

GIBIBYTE = 1 << 30


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What the builder may do; part of an engine's key."""

    workspace_bytes: int = 0  # GPU memory for scratch space of one layer; 0: all there is
    optimization_level: int | None = None  # 0 to 5, more: longer builds of faster engines; None: TensorRT's default
    allow_tf32: bool = False  # FP32 products of 10 bits of mantissa: quicker, with other answers than ONNX asks for

    @property
    def facts(self) -> dict[str, str]:
        """As an EngineKey has them."""
        return {
            "workspace_bytes": str(self.workspace_bytes),
            "optimization_level": "default" if self.optimization_level is None else str(self.optimization_level),
            "allow_tf32": str(self.allow_tf32).lower(),
        }


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One engine to build."""

    model_file: Path
    profiles: tuple[Profile, ...]  # as written; what is missing follows from max_batch_size
    max_batch_size: int  # rows; 0: the model has no batch axis
    compute_capability: str  # "8.9"
    gpu_uuid: str = ""  # the GPU that it is built on and for; empty: none, for the named compute capability
    options: BuildOptions = BuildOptions()
    memory_bytes: int = 8 * GIBIBYTE  # that the building process may use beyond its libraries
    timeout_s: float = 3600.0
    timing_cache: Path | None = None  # read and written; spares measuring the same kernels again


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is."""

    phase: str  # in TensorRT's words
    fraction: float  # 0 to 1, never less than before
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A built engine."""

    size_bytes: int
    digest: str  # "sha256:..." of its bytes as the builder gave them, before they went to disk
    seconds: float
    peak_bytes: int  # largest resident memory of the building process
    layers: int  # of the network as parsed
