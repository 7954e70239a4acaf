"""From a version of a model and a target to the key of the engine that both need."""

import hashlib
import os
from pathlib import Path
from typing import Protocol

from appliance.backends.onnx_precision import onnx_precision
from appliance.backends.tensorrt.build_request import BuildOptions
from appliance.backends.tensorrt.engine_disk import Untrusted, digest_of
from appliance.backends.tensorrt.profiles import largest_batch, written_profiles
from appliance.errors import InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.engine import EngineKey, EnginePlatform

WORKSPACE_PARAMETER = "trt_max_workspace_size"
LEVEL_PARAMETER = "trt_builder_optimization_level"
TF32_PARAMETER = "allow_tf32"  # ours: ONNX Runtime's provider always allows it
_MOST_DIGITS = 15
_LARGEST_LEVEL = 5


class EngineVersion(Protocol):
    """One version of a model, as far as an engine cares."""

    @property
    def name(self) -> str:
        """Its model."""

    @property
    def version(self) -> int:
        """Its number."""

    @property
    def model_file(self) -> Path:
        """The ONNX file; its weights may be in files beside it."""

    @property
    def config(self) -> ModelConfig:
        """Its configuration, as written."""


def engine_key(version: EngineVersion, platform: EnginePlatform, options: BuildOptions) -> EngineKey:
    """Name the engine. Reads the whole model. Raises InvalidInput for unreadable files or wrong parameters."""
    return EngineKey(
        onnx_digest=model_digest(version.model_file),
        platform=platform,
        profiles=written_profiles(version.config),
        precision=onnx_precision(version.model_file),
        # What the profiles leave out follows from the batch size.
        options=options.facts | {"max_batch_size": str(largest_batch(version.config))},
    )


def build_options(config: ModelConfig, optimization_level: int | None) -> BuildOptions:
    """Read the options of a model's build; what it leaves open is the box's setting. Raises InvalidInput.

    The parameters have the names that ONNX Runtime's TensorRT provider gives them.
    """
    level = _number(config, LEVEL_PARAMETER, _LARGEST_LEVEL)
    return BuildOptions(
        workspace_bytes=_number(config, WORKSPACE_PARAMETER, 10**_MOST_DIGITS) or 0,
        optimization_level=optimization_level if level is None else level,
        allow_tf32=_number(config, TF32_PARAMETER, 1) == 1,
    )


def model_digest(model_file: Path) -> str:
    """Name the content of a model: its file, and every other file beside it that may hold its weights.

    Hidden files are no part of a package. A model without other files has the digest of its file. Raises
    InvalidInput.
    """
    try:
        digests = {path.relative_to(model_file.parent): digest_of(path) for path in _files_beside(model_file)}
    except Untrusted as reason:
        raise InvalidInput(f"beside {model_file}: {reason}", hint="put a copy of the file there") from reason
    except OSError as error:
        raise InvalidInput(f"{error.filename or model_file} cannot be read: {error.strerror}") from error
    own = digests.pop(Path(model_file.name), None)
    if own is None:
        raise InvalidInput(f"{model_file} does not exist", hint="see what there is: appliance models list")
    if not digests:
        return own
    whole = hashlib.sha256(own.encode())
    for relative, digest in digests.items():
        whole.update(b"\n" + os.fsencode(relative) + b"\0" + digest.encode())
    return f"sha256:{whole.hexdigest()}"


def _files_beside(model_file: Path) -> list[Path]:
    """List what lies beside and below, sorted. Raises OSError."""
    found: list[Path] = []
    for directory, directories, files in os.walk(model_file.parent, onerror=_raise):
        directories[:] = [name for name in directories if not name.startswith(".")]
        linked = [name for name in directories if (Path(directory) / name).is_symlink()]
        found += [Path(directory) / name for name in (*files, *linked) if not name.startswith(".")]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _number(config: ModelConfig, parameter: str, largest: int) -> int | None:
    text = config.parameter(parameter)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) <= largest):
        raise InvalidInput(f"parameter {parameter}: found '{text[:40]}', expected a whole number up to {largest}")
    return int(text)
