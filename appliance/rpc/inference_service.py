"""GRPCInferenceService: Triton's protocol over what serving offers.

Every method is a function of request bytes and our own call context; see call.py.
"""

import asyncio
from collections.abc import AsyncIterator

from appliance.errors import Unsupported
from appliance.model.config_text import config_to_proto
from appliance.model.pb.model_config_pb2 import ModelConfig
from appliance.rpc import stream
from appliance.rpc.call import Call, Parts, RequestBytes, Service, UnaryMethod
from appliance.rpc.infer import InferPath
from appliance.rpc.messages import parse
from appliance.rpc.pb import grpc_service_pb2 as pb
from appliance.rpc.repository_methods import RepositoryMethods
from appliance.rpc.statistics_message import model_statistics
from appliance.serving.loaded_model import LoadedModel
from appliance.serving.model_manager import ModelManager

EXTENSIONS = (
    "classification",
    "model_repository",
    "model_repository(unload_dependents)",
    "schedule_policy",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)
_NOT_BUILT = {
    "SystemSharedMemoryStatus": "shared memory is not part of this version: send tensors in the request",
    "SystemSharedMemoryRegister": "Client shared memory is disabled. Send tensors in the request",
    "SystemSharedMemoryUnregister": "Client shared memory is disabled. Send tensors in the request",
    "CudaSharedMemoryStatus": "shared memory is not part of this version: send tensors in the request",
    "CudaSharedMemoryRegister": "Client shared memory is disabled. Send tensors in the request",
    "CudaSharedMemoryUnregister": "Client shared memory is disabled. Send tensors in the request",
    "TraceSetting": "request tracing is not part of this version: see ModelStatistics for durations",
    "LogSettings": "log settings cannot be changed over the network: see [log] in appliance.toml",
}


class InferenceService:
    """The 20 methods of GRPCInferenceService."""

    def __init__(
        self, manager: ModelManager, *, name: str, version: str, transport: str, repository_control: bool
    ) -> None:
        """transport: the name of the one that serves, for the metadata."""
        self._manager = manager
        self._table = manager.table
        self._path = InferPath(manager.table)
        self._name = name
        self._version = version
        self._extensions = (*EXTENSIONS, f"transport({transport})")  # ours; clients look for those that they know
        self._repository = RepositoryMethods(manager, allowed=repository_control)
        self._draining = False
        self._readers: set[asyncio.Task[None]] = set()  # one for each open stream

    def drain(self) -> None:
        """From now on not ready, and no new inference or stream is taken; it waits until `refuse`."""
        self._draining = True
        self._path.drain()
        for reader in tuple(self._readers):
            reader.cancel()

    def refuse(self) -> None:
        """Refuse what came since `drain`."""
        self._path.refuse()

    @property
    def service(self) -> Service:
        """The table of methods."""
        unary: dict[str, UnaryMethod] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "ModelInfer": self._path.answer,
            "RepositoryIndex": self._repository.index,
            "RepositoryModelLoad": self._repository.load,
            "RepositoryModelUnload": self._repository.unload,
        }
        unary |= {method: _refusing(sentence) for method, sentence in _NOT_BUILT.items()}
        streams = {"ModelStreamInfer": self._model_stream_infer}
        return Service("inference.GRPCInferenceService", unary, {}, streams, {"ModelInfer": self._path.begin})

    def _model_stream_infer(self, requests: AsyncIterator[RequestBytes], call: Call) -> AsyncIterator[Parts]:
        if self._draining:
            return self._refused_stream()
        return stream.answer_in_order(requests, call, self._path.answer, self._readers)

    async def _refused_stream(self) -> AsyncIterator[Parts]:
        """A stream that is opened while the service drains: nobody would end it before the patience of the stop."""
        await self._path.refusal()
        yield []  # never: this only makes it an iterator

    async def _server_live(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002  (every method has the same form)
        parse(pb.ServerLiveRequest, data)
        return [pb.ServerLiveResponse(live=not self._draining).SerializeToString()]

    async def _server_ready(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        parse(pb.ServerReadyRequest, data)
        return [pb.ServerReadyResponse(ready=self._manager.ready and not self._draining).SerializeToString()]

    async def _server_metadata(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        parse(pb.ServerMetadataRequest, data)
        response = pb.ServerMetadataResponse(name=self._name, version=self._version, extensions=self._extensions)
        return [response.SerializeToString()]

    async def _model_ready(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        request = parse(pb.ModelReadyRequest, data)
        return [pb.ModelReadyResponse(ready=self._table.is_ready(request.name, request.version)).SerializeToString()]

    async def _model_metadata(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        request = parse(pb.ModelMetadataRequest, data)
        model = self._table.lookup(request.name, request.version)
        ready = reversed(self._table.known(model.name).ready())
        response = pb.ModelMetadataResponse(
            name=model.name, versions=[other.version_text for other in ready], platform=model.served.config.platform
        )
        batch = (-1,) if model.served.max_batch_size else ()
        for spec in model.served.inputs.values():
            response.inputs.add(name=spec.name, datatype=spec.datatype.wire_name, shape=(*batch, *spec.shape))
        for spec in model.served.outputs.values():
            response.outputs.add(name=spec.name, datatype=spec.datatype.wire_name, shape=(*batch, *spec.shape))
        return [response.SerializeToString()]

    async def _model_config(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        request = parse(pb.ModelConfigRequest, data)
        model = self._table.lookup(request.name, request.version)
        return [pb.ModelConfigResponse(config=_described(model)).SerializeToString()]

    async def _model_statistics(self, data: RequestBytes, call: Call) -> Parts:  # noqa: ARG002
        request = parse(pb.ModelStatisticsRequest, data)
        if request.name:
            entry = self._table.known(request.name, request.version)
            wanted = [self._table.lookup(request.name, request.version)] if request.version else entry.ready()
            if not wanted:
                self._table.lookup(request.name, request.version)  # raises, with the reason
        else:
            wanted = list(self._table.loaded())
        response = pb.ModelStatisticsResponse(model_stats=[model_statistics(model) for model in wanted])
        return [response.SerializeToString()]


def _described(model: LoadedModel) -> ModelConfig:
    """The configuration in force, with the device that really computes among its parameters."""
    config = config_to_proto(model.served.config)
    config.parameters["execution_device"].string_value = model.device
    if model.path is not None:
        config.parameters["execution_path"].string_value = model.path.value
    if model.device_note:
        config.parameters["execution_note"].string_value = model.device_note
    if model.available.digest:
        config.parameters["digest"].string_value = model.available.digest
    return config


def _refusing(sentence: str) -> UnaryMethod:
    async def refuse(data: RequestBytes, call: Call) -> Parts:  # noqa: ARG001  (every method has the same form)
        await asyncio.sleep(0)
        raise Unsupported(sentence)

    return refuse
