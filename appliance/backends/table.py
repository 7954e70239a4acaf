"""The table of backends: written out, imported one by one, and only when a model asks for it."""

from importlib import import_module
from types import MappingProxyType

from appliance.backends.base import Backend
from appliance.errors import Failed, InvalidInput
from appliance.model.config import ModelConfig

_MODULES = MappingProxyType(
    {
        "onnxruntime": "appliance.backends.onnxruntime",
        "reference": "appliance.backends.reference",
        "tensorrt": "appliance.backends.tensorrt.tensorrt_backend",  # chosen by execution paths, never by name
    }
)
_NAMED = ("onnxruntime", "reference")
_PLATFORMS = MappingProxyType({"onnxruntime_onnx": "onnxruntime"})
_REMEDY = MappingProxyType({"onnxruntime": "pip install 'appliance[cpu]' (or 'appliance[gpu]' on an NVIDIA box)"})


def backend_name(config: ModelConfig) -> str:
    """Say which backend a configuration asks for; ONNX Runtime when it names none.

    Raises InvalidInput for a backend or platform that this build does not have.
    """
    name = config.backend or _PLATFORMS.get(config.platform, config.platform) or "onnxruntime"
    if name in ("tensorrt", "tensorrt_plan"):
        raise InvalidInput(
            "engines from elsewhere are not loaded: they are code, and fit one GPU and driver only",
            hint="bring the ONNX file, leave 'backend' and 'platform' out, and write execution = [\"tensorrt\"]",
        )
    if name not in _NAMED:
        raise InvalidInput(
            f"backend '{name}' is not supported, expected one of {', '.join(_NAMED)}",
            hint="convert the model to ONNX and leave 'backend' out",
        )
    return name


def open_backend(name: str) -> Backend:
    """Import the backend's module. Raises Failed with the remedy if its runtime is not installed."""
    try:
        module = import_module(_MODULES[name])
    except ImportError as error:
        raise Failed(f"backend '{name}' cannot be used: {error}", hint=_REMEDY.get(name, "")) from error
    backend: Backend = module.BACKEND
    return backend
