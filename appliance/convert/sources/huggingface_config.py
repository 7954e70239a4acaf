"""The configuration files of a Hugging Face directory: read as JSON, and searched for code that they would run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.sources.source_files import read_source_text, refuse_unpulled

CONFIG = "config.json"
MODULES = "modules.json"  # of sentence-transformers: what follows the model, each in a folder of its own
_ADAPTER = "adapter_config.json"
# Those that transformers asks for class names. Vocabularies are left out: 'auto_map' may be one of their words.
_ASKED_FOR_CLASSES = (
    CONFIG,
    "tokenizer_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
    "image_processor_config.json",
    "generation_config.json",
)
_CODE_KEYS = ("auto_map", "custom_pipelines")
_OTHER_WEIGHTS = "transformers_weights"  # transformers joins it to the directory unchecked
_DEEPEST = 32
_BRING_AGAIN = "bring {name} again from where the weights came from"


def read_config(directory: Path, files: Mapping[str, Path]) -> Mapping[str, Any]:
    """Read config.json: it names an architecture and a model type. Raises ConversionRefused."""
    if CONFIG not in files:
        raise _no_config(directory, files)
    config = read_object(files[CONFIG])
    architectures, model_type = config.get("architectures"), config.get("model_type")
    if not (isinstance(architectures, list) and architectures and isinstance(architectures[0], str)):
        raise _broken(CONFIG, f"names no architecture: found 'architectures': {architectures!r:.100}")
    if not (isinstance(model_type, str) and model_type):
        raise _broken(CONFIG, f"names no model type: found 'model_type': {model_type!r:.100}")
    if config.get(_OTHER_WEIGHTS) is not None:
        raise _broken(CONFIG, f"names other weights ('{_OTHER_WEIGHTS}'): expected them in model.safetensors")
    if config.get("quantization_config") is not None:
        raise _already_quantised()
    return MappingProxyType(config)


def refuse_remote_code(directory: Path, files: Mapping[str, Path]) -> None:
    """Refuse a model whose configuration names Python code of its own. Raises ConversionRefused."""
    for name in _ASKED_FOR_CLASSES:
        if name in files:
            for found in _code_in(read_object(files[name])):
                raise ConversionRefused(
                    Reason.REMOTE_CODE,
                    f"{directory.name} brings its own Python code: {name} names {found}; such code is never run",
                    hint="convert a model whose architecture transformers has itself, or export this one to ONNX "
                    "where you trust it and run: appliance convert model.onnx",
                )


def read_object(file: Path) -> dict[str, Any]:
    """Read a JSON object. Raises ConversionRefused."""
    document = read_json(file)
    if not isinstance(document, dict):
        raise _broken(file.name, f"holds a {type(document).__name__}: expected an object")
    return document


def read_json(file: Path) -> Any:
    """Read JSON that is not nested too deep. Raises ConversionRefused."""
    refuse_unpulled(file)
    text = read_source_text(file)
    try:
        document = json.loads(text)
    except RecursionError:
        raise _broken(file.name, "is nested too deep") from None
    except ValueError as error:
        raise _broken(file.name, f"is not valid JSON: {error}") from error
    if max(depth for depth, _, _ in _entries(document)) > _DEEPEST:
        raise _broken(file.name, f"is nested too deep: more than {_DEEPEST} levels")
    return document


def _code_in(document: dict[str, Any]) -> Iterator[str]:
    for _, key, value in _entries(document):
        if key in _CODE_KEYS and value:
            yield f"'{key}'"
        elif isinstance(value, str) and value.endswith(".py"):
            yield repr(value[:100])


def _entries(document: object) -> Iterator[tuple[int, str, object]]:
    """Yield depth, key and value of everything inside; without recursion, for the depth is what is asked."""
    waiting: list[tuple[int, str, object]] = [(0, "", document)]
    while waiting:
        depth, key, value = entry = waiting.pop()
        yield entry
        if isinstance(value, dict):
            waiting += [(depth + 1, name, inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(depth + 1, key, inner) for inner in value]


def _no_config(directory: Path, files: Mapping[str, Path]) -> ConversionRefused:
    if _ADAPTER in files:
        return ConversionRefused(
            Reason.NO_CONFIG,
            f"{directory.name} holds an adapter ({_ADAPTER}), not a model: there is no {CONFIG}",
            hint="merge it into its base model first (merge_and_unload, save_pretrained), then convert the result",
        )
    return ConversionRefused(
        Reason.NO_CONFIG,
        f"{directory.name} has no {CONFIG}",
        hint="name the directory that save_pretrained wrote: appliance convert DIR, with config.json and "
        "model.safetensors in it",
    )


def _broken(name: str, what: str) -> ConversionRefused:
    return ConversionRefused(Reason.NO_CONFIG, f"{name} {what}", hint=_BRING_AGAIN.format(name=name))


def _already_quantised() -> ConversionRefused:
    return ConversionRefused(
        Reason.UNSUPPORTED_ARCHITECTURE,
        "the weights are quantised already ('quantization_config'): expected them in full precision",
        hint="convert the model that they were made from, with: appliance convert SRC --precision int8",
    )
