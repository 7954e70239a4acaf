"""Which TensorRT is installed: NVIDIA's full one, or TensorRT-RTX. What they can do is probed, never told by version.

The only place that imports either, always late: their libraries are large, and without a driver some of them crash.
"""

import importlib.util
from dataclasses import dataclass
from importlib import import_module, metadata
from types import MappingProxyType
from typing import Any

from appliance.errors import Failed, InvalidInput

TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt-rtx"
AUTO = "auto"

# Each is packaged for several versions of CUDA. JetPack's own package registers as "tensorrt".
_DISTRIBUTIONS = MappingProxyType(
    {
        TENSORRT: ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
        TENSORRT_RTX: ("tensorrt-rtx-cu13", "tensorrt-rtx-cu12", "tensorrt-rtx"),
    }
)
_MODULES = MappingProxyType({TENSORRT: "tensorrt", TENSORRT_RTX: "tensorrt_rtx"})
_TITLES = MappingProxyType({TENSORRT: "TensorRT", TENSORRT_RTX: "TensorRT-RTX"})
REMEDY = (
    "pip install 'appliance[tensorrt]' (GeForce and RTX: 'appliance[tensorrt-rtx]'); on a Jetson make the "
    "environment with --system-site-packages, so that it sees JetPack's own"
)


@dataclass(frozen=True, slots=True)
class Flavour:
    """One installed TensorRT."""

    name: str  # "tensorrt" or "tensorrt-rtx"
    module: str  # what Python imports
    version: str  # of its package, "10.16.1.11"; empty if that is not recorded

    @property
    def title(self) -> str:
        """Its name as people write it, with the version."""
        return f"{_TITLES[self.name]} {self.version}".strip()


def installed_flavours() -> list[Flavour]:
    """Return what is installed, full TensorRT first. Imports nothing."""
    return [
        Flavour(name, module, _version(name))
        for name, module in _MODULES.items()
        if importlib.util.find_spec(module) is not None
    ]


def choose_flavour(wanted: str = AUTO) -> Flavour:
    """Return the one that was asked for; 'auto': full TensorRT where it is installed. Raises Failed, InvalidInput."""
    if wanted != AUTO and wanted not in _MODULES:
        raise InvalidInput(f"unknown flavour '{wanted}', expected one of {AUTO}, {', '.join(_MODULES)}")
    found = [flavour for flavour in installed_flavours() if wanted in (AUTO, flavour.name)]
    if not found:
        raise Failed(f"{_TITLES.get(wanted, 'TensorRT')} is not installed", hint=REMEDY)
    return found[0]


def load_tensorrt(flavour: Flavour) -> Any:
    """Import it. Raises Failed with the remedy if that does not work."""
    try:
        return import_module(flavour.module)
    except (ImportError, OSError) as error:  # OSError: one of its libraries
        raise Failed(f"{flavour.title} cannot be loaded: {error}", hint=REMEDY) from error


def _version(name: str) -> str:
    for distribution in _DISTRIBUTIONS[name]:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return ""
