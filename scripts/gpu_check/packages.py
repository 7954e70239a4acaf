"""The models that are checked: packages laid out for one way of computing, in a folder of the check's own."""

import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import Failed
from appliance.model.config import InstanceGroup, InstanceKind, ModelConfig
from appliance.model.config_text import config_to_json
from appliance.registry.package import CONFIG_PBTXT, CONFIG_TOML, read_models_directory

RESNET50 = "resnet50"  # the model that has goals
SHIPPED = ("digits",)
INSTANCES = 2  # copies to and from the GPU overlap with computing
_BATCHES = {RESNET50: 32, "cnn": 64}
# Two instances share 32 requests in flight, so batches of 16 are what the engine is built to be fastest at.
_PROFILES = {
    RESNET50: {
        "trt_profile_min_shapes": "INPUT0:1x3x224x224",
        "trt_profile_opt_shapes": "INPUT0:16x3x224x224",
        "trt_profile_max_shapes": "INPUT0:32x3x224x224",
    }
}
_KINDS = {"tensorrt": InstanceKind.GPU, "cpu": InstanceKind.CPU}


@dataclass(frozen=True, slots=True)
class Workload:
    """A models directory and what is in it. `missing`: model -> why it is not."""

    folder: Path
    names: tuple[str, ...]
    missing: dict[str, str]

    def package(self, name: str) -> Path:
        """Where a model's package lies."""
        return self.folder / name


def lay_out(folder: Path, shipped: Path, more: Sequence[Path], path: str, *, large: bool) -> Workload:
    """Write digits, a CNN, ResNet-50 (if `large`) and every package in the folders `more`.

    path: what has to compute them, "tensorrt" or "cpu"; '' leaves that as it is.
    Raises Failed for a folder that holds no package, or one that cannot be read.
    """
    names, missing = [], {}
    for source in (shipped, *more):
        names += _copied(source, folder, path, only=SHIPPED if source == shipped else None)
    for name, write in _made(large=large).items():
        if importlib.util.find_spec("onnx") is None:
            missing[name] = f"the Python package onnx, which makes {name}, is not installed"
            continue
        write(folder / name / "1" / "model.onnx")
        profiles = {key: {"string_value": shapes} for key, shapes in _PROFILES.get(name, {}).items()}
        config = ModelConfig.model_validate({"max_batch_size": _BATCHES[name], "parameters": profiles})
        (folder / name / CONFIG_TOML).write_text(_text(config, path))
        names.append(name)
    return Workload(folder, tuple(dict.fromkeys(names)), missing)


def _made(*, large: bool) -> dict[str, Callable[[Path], object]]:
    def write_cnn(path: Path) -> object:
        from tests.support.onnx_models import write_cnn  # noqa: PLC0415  (needs onnx)

        return write_cnn(path)

    def write_resnet50(path: Path) -> object:
        from gpu_check.resnet50 import write_resnet50  # noqa: PLC0415  (needs onnx)

        return write_resnet50(path)

    return {"cnn": write_cnn, **({RESNET50: write_resnet50} if large else {})}


def _copied(source: Path, folder: Path, path: str, only: Sequence[str] | None) -> list[str]:
    packages = read_models_directory(source)
    if not packages:
        raise Failed(f"{source} holds no model package", hint="name a directory with packages in it: --models DIR")
    names = []
    for directory, package in packages.items():
        if only is not None and directory not in only:
            continue
        if isinstance(package, str):
            raise Failed(f"{source / directory} is no package: {package}")
        if (folder / directory).exists():
            raise Failed(f"two packages are called {directory}", hint="name one of them otherwise")
        shutil.copytree(package.directory, folder / directory)
        (folder / directory / CONFIG_PBTXT).unlink(missing_ok=True)
        (folder / directory / CONFIG_TOML).write_text(_text(package.config, path))
        names.append(directory)
    return names


def _text(config: ModelConfig, path: str) -> str:
    """Write a configuration as model.toml, for one way of computing."""
    if path:
        update: dict[str, Any] = {"instance_group": (InstanceGroup(kind=_KINDS[path], count=INSTANCES),)}
        if config.max_batch_size != 0:
            update["dynamic_batching"] = config.dynamic_batching or {"max_queue_delay_microseconds": 0}
        config = ModelConfig.model_validate(config.model_dump() | update)
    document = json.loads(config_to_json(config))
    if path:
        document["execution"] = [path]  # by this and nothing else
    return "".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in document.items())


def _toml(value: Any) -> str:
    """Write a value of JSON as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
