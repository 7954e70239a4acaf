"""The model repository extension: index, load, unload."""

from collections.abc import Mapping

from appliance.errors import Busy, Failed, InvalidInput, Unsupported
from appliance.model.config import ModelConfig
from appliance.model.config_text import config_from_json
from appliance.model.identity import ModelName
from appliance.model.lifecycle import ModelState
from appliance.rpc.call import Call, Parts, RequestBytes
from appliance.rpc.messages import parse
from appliance.rpc.pb import grpc_service_pb2 as pb
from appliance.serving.model_manager import ModelManager


class RepositoryMethods:
    """RepositoryIndex, RepositoryModelLoad, RepositoryModelUnload."""

    def __init__(self, manager: ModelManager, *, allowed: bool) -> None:
        self._manager = manager
        self._allowed = allowed

    async def index(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002  (every method has the same form)
        """List every known version; models without one have an empty version."""
        request = parse(pb.RepositoryIndexRequest, data)
        _refuse_repository_name(request.repository_name)
        response = pb.RepositoryIndexResponse()
        for name, entry, reason in self._manager.table.rows():
            if request.ready and (entry is None or entry.state is not ModelState.READY):
                continue
            if entry is None or entry.state is ModelState.UNKNOWN:
                response.models.add(name=name, version="" if entry is None else str(entry.version), reason=reason)
            else:
                response.models.add(
                    name=name, version=str(entry.version), state=entry.state.value, reason=entry.reason
                )
        return [response.SerializeToString()]

    async def load(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        """Load a model now; answers when it is READY or has failed."""
        request = parse(pb.RepositoryModelLoadRequest, data)
        self._refuse_unless_allowed()
        _refuse_repository_name(request.repository_name)
        name = _model_name(request.model_name)
        await self._manager.load(name, _config_override(name, request.parameters))
        return [b""]

    async def unload(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        """Let a model go; answers when no version accepts requests any more."""
        request = parse(pb.RepositoryModelUnloadRequest, data)
        self._refuse_unless_allowed()
        _refuse_repository_name(request.repository_name)
        name = _model_name(request.model_name)
        for key, parameter in request.parameters.items():
            if key != "unload_dependents":
                raise InvalidInput(f"unrecognized unload parameter '{key}', expected unload_dependents")
            if parameter.WhichOneof("parameter_choice") != "bool_param":
                raise InvalidInput(
                    "invalid value type for unload parameter 'unload_dependents', expected bool_param."
                )
        await self._manager.unload(name)
        return [b""]

    def _refuse_unless_allowed(self) -> None:
        if not self._allowed:
            raise Busy(
                "explicit model load / unload is not allowed on this appliance",
                hint="the operator allows it with models.repository_control = true in appliance.toml",
            )


def _refuse_repository_name(name: str) -> None:
    if name:
        raise Unsupported(f"'repository_name' specification is not supported, got '{name}'")


def _model_name(text: str) -> ModelName:
    """Check a name for what no model can have; whether there is such a model is another question."""
    if not text.strip():
        raise InvalidInput("Model name cannot be empty. Please enter a valid name to deploy.")
    if "/" in text or "\\" in text or ".." in text:
        raise InvalidInput(f"invalid model name '{text}', model name must not contain path traversal characters")
    return ModelName(text)


def _config_override(name: str, parameters: Mapping[str, pb.ModelRepositoryParameter]) -> ModelConfig | None:
    override = None
    for key, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if key == "config":
            if kind != "string_param":
                raise InvalidInput("invalid value type for load parameter 'config', expected string_param.")
            try:
                override = config_from_json(parameter.string_param, "load parameter 'config'")
            except InvalidInput as error:
                raise Failed(f"failed to load '{name}', failed to poll from model repository: {error}") from error
        elif key.startswith("file:"):
            if kind != "bytes_param":
                raise InvalidInput(f"invalid value type for load parameter '{key}', expected bytes_param.")
            raise Unsupported(
                "load parameter 'file:' is not supported: models enter this appliance through its registry only",
                hint="appliance models add DIR",
            )
        else:
            raise InvalidInput(f"unrecognized load parameter '{key}', expected config.")
    return override
