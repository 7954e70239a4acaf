"""Reading a ModelConfig from its two written forms: `model.toml` and Triton's `config.pbtxt` (or its JSON)."""

import json
import tomllib
from typing import Any

from google.protobuf import json_format, text_format
from pydantic import ValidationError

from appliance.errors import InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.datatype import Datatype
from appliance.model.pb import model_config_pb2

# Fields of config.pbtxt that change nothing here: accepted, so that existing repositories load as they are.
_WITHOUT_EFFECT = ("runtime", "cc_model_filenames", "model_metrics")


def config_from_toml(text: str, where: str) -> ModelConfig:
    """Read `model.toml`. `where` names the file in errors. Raises InvalidInput with the field and the reason."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{where}: not valid TOML: {error}") from error
    if "model_warmup" not in document and "warmup" in document:
        document["model_warmup"] = document.pop("warmup")
    return _validated(document, where)


def config_from_pbtxt(text: str, where: str) -> ModelConfig:
    """Read Triton's `config.pbtxt`. Raises InvalidInput with line, field and reason."""
    message = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise InvalidInput(f"{where}: not a Triton model configuration: {error}") from error
    return config_from_proto(message, where)


def config_from_json(text: str, where: str) -> ModelConfig:
    """Read the proto3 JSON form of a ModelConfig (what `RepositoryModelLoad` carries in `config`)."""
    message = model_config_pb2.ModelConfig()
    try:
        json_format.Parse(text, message)
    except json_format.ParseError as error:
        raise InvalidInput(f"{where}: not a Triton model configuration: {error}") from error
    return config_from_proto(message, where)


def config_from_proto(message: model_config_pb2.ModelConfig, where: str) -> ModelConfig:
    """Translate Triton's message; fields without a counterpart are refused by name."""
    document: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    for field in _WITHOUT_EFFECT:
        document.pop(field, None)
    execution = document.get("parameters", {}).pop("execution", None)
    if execution is not None:
        document["execution"] = execution.get("string_value", "")
    if "max_batch_size" not in document and "input" in document:
        document["max_batch_size"] = 0  # Triton: a configuration that lists its inputs means what it says
    return _validated(document, where)  # pydantic reads proto3 JSON's 64-bit integers written as strings


def config_to_proto(config: ModelConfig) -> model_config_pb2.ModelConfig:
    """Write a ModelConfig as Triton's message; our own three fields travel in `parameters`."""
    document = config.model_dump(exclude={"description", "licence", "execution"}, exclude_none=True)
    parameters = document.setdefault("parameters", {})
    for key, value in (("description", config.description), ("licence", config.licence)):
        if value:
            parameters[key] = {"string_value": value}
    parameters["execution"] = {"string_value": config.execution.text}
    return json_format.ParseDict(_plain(document), model_config_pb2.ModelConfig())


def _validated(document: dict[str, Any], where: str) -> ModelConfig:
    try:
        return ModelConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "configuration"
        reason = first["msg"].removeprefix("Value error, ")
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InvalidInput(
            f"{where}: {field}: {reason}{more}", hint="the field names are those of Triton's ModelConfig"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Datatype):
        return value.config_name
    return getattr(value, "value", value)


def config_to_json(config: ModelConfig) -> str:
    """Write a ModelConfig as canonical JSON (for manifests and `--json`)."""
    return json.dumps(_plain(config.model_dump(exclude_none=True)), sort_keys=True, separators=(",", ":"))
