"""For what an engine is built: this box's GPU, or a compute capability that is named."""

import re
from dataclasses import dataclass

from appliance.backends.cuda.gpu import Gpu
from appliance.backends.tensorrt.flavour import Flavour
from appliance.errors import InvalidInput
from appliance.model.engine import EnginePlatform

_CAPABILITY = re.compile(r"[1-9]\d?\.\d")


@dataclass(frozen=True, slots=True)
class EngineTarget:
    """What builds, what the engine will run on, and the GPU to build on (empty: none)."""

    flavour: Flavour
    platform: EnginePlatform
    gpu_uuid: str = ""


def named_target(flavour: Flavour, compute_capability: str) -> EngineTarget:
    """Build for a kind of GPU that need not be here. Raises InvalidInput for what is no compute capability.

    Whether the flavour knows it is said by its builder.
    """
    if not _CAPABILITY.fullmatch(compute_capability):
        raise InvalidInput(
            f"'{compute_capability}' is no compute capability, expected two numbers such as 8.9",
            hint="what your GPU has: nvidia-smi --query-gpu=name,compute_cap --format=csv",
        )
    return EngineTarget(flavour, EnginePlatform(flavour.name, flavour.version, compute_capability))


def gpu_target(flavour: Flavour, gpu: Gpu, driver: str, l4t: str) -> EngineTarget:
    """Build on and for a GPU of this box. driver, l4t: their versions, '' for none."""
    platform = EnginePlatform(
        flavour=flavour.name,
        flavour_version=flavour.version,
        compute_capability=gpu.compute_capability,
        gpu_name=gpu.name,
        gpu_class=gpu.uuid_class,
        driver=driver,
        l4t=l4t,
    )
    return EngineTarget(flavour, platform, gpu.uuid)
