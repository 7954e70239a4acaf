"""What an engine is known by: what it was built from, by what and for what.

An engine is machine code for one GPU generation, one TensorRT and one driver. It is derived from the ONNX file, never
shipped, and used only while every component of its key is what it was at the build.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Smallest, usual and largest shape of one input, batch axis included. The engine is fastest at `opt`."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


Profile = Mapping[str, ShapeRange]  # input -> its shapes; inputs of fixed shape are left out


@dataclass(frozen=True, slots=True)
class EnginePlatform:
    """What an engine runs on. Without a GPU only the flavour, its version and the compute capability are known."""

    flavour: str  # "tensorrt" or "tensorrt-rtx"
    flavour_version: str  # "10.16.1.11"
    compute_capability: str  # "8.9"
    gpu_name: str = ""  # "NVIDIA L4"; empty: built for a named compute capability
    gpu_class: str = ""  # "GPU", or "MIG" for a slice of one: the first part of its UUID
    driver: str = ""  # "580.95.05"
    l4t: str = ""  # Jetson's release, "38.2.0"


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Every component that makes an engine another engine."""

    onnx_digest: str  # "sha256:..." over the model file and the weights beside it
    platform: EnginePlatform
    profiles: tuple[Profile, ...]
    precision: str  # as the ONNX file has it: "fp32", "fp16", "int8"; for people, the digest decides
    options: Mapping[str, str]  # of the build, such as workspace_bytes

    @property
    def text(self) -> str:
        """64 hex digits; the engine's file name."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        """All components as JSON has them."""
        return asdict(self) | {
            "profiles": [{name: asdict(shapes) for name, shapes in profile.items()} for profile in self.profiles],
            "options": dict(self.options),
        }


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """One built engine as the registry's database remembers it: the file beside it is not trusted without."""

    key: str  # EngineKey.text
    digest: str  # "sha256:..." of the engine's file
    size_bytes: int
    model: str  # for whom it was built; another model of the same file shares it
    version: int
    facts: Mapping[str, Any]  # EngineKey.facts
    build_s: float
    build_peak_bytes: int  # resident memory of the building process
    built_at: float  # seconds since 1970
    used_at: float
    device_bytes: int = 0  # GPU memory that it took when it was loaded; 0: never loaded
    runtime_cache_digest: str = ""  # of the kernels that TensorRT-RTX compiled for it; empty: none are kept
    runtime_cache_bytes: int = 0

    @property
    def disk_bytes(self) -> int:
        """What it takes in the cache, compiled kernels included."""
        return self.size_bytes + self.runtime_cache_bytes
