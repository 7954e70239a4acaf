"""Requests as bytes, calls without stubs: what tests of the wire share."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc
import numpy as np

from appliance.rpc.pb import appliance_admin_pb2 as admin_pb
from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.support.daemon import DaemonProcess

SERVICE = "inference.GRPCInferenceService"
TIMEOUT_S = 30.0
METHODS = (
    *("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"),
    *("ModelInfer", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
    *("SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
    *("CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"),
    *("TraceSetting", "LogSettings"),
)

Tensor = pb.ModelInferRequest.InferInputTensor
Requested = pb.ModelInferRequest.InferRequestedOutputTensor
Parameter = pb.InferParameter


def call(channel: grpc.Channel, method: str, data: bytes, timeout_s: float = TIMEOUT_S) -> bytes:
    """Call a unary method of the inference service with these bytes."""
    path = method if method.startswith("/") else f"/{SERVICE}/{method}"
    answer: bytes = channel.unary_unary(path)(data, timeout=timeout_s)
    return answer


def refusal(channel: grpc.Channel, method: str, data: bytes) -> tuple[grpc.StatusCode, str]:
    """Call a method that must fail; return the status."""
    try:
        answer = call(channel, method, data)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError(f"{method} answered {answer[:200]!r}, expected a refusal")


def fp32(*rows: Iterable[float]) -> bytes:
    return np.array(rows, np.float32).tobytes()


FOUR = fp32((1, 2, 3, 4))


def tensor(
    name: str = "INPUT0", datatype: str = "FP32", shape: Iterable[int] = (1, 4), **fields: Any
) -> pb.ModelInferRequest.InferInputTensor:
    return Tensor(name=name, datatype=datatype, shape=list(shape), **fields)


def request(
    model: str,
    inputs: Iterable[pb.ModelInferRequest.InferInputTensor] | None = None,
    raw: Iterable[bytes] | None = None,
    *,
    outputs: Iterable[pb.ModelInferRequest.InferRequestedOutputTensor | str] = (),
    parameters: Mapping[str, pb.InferParameter] | None = None,
    **fields: Any,
) -> pb.ModelInferRequest:
    """A request; by default one FP32 [1, 4] as INPUT0."""
    message = pb.ModelInferRequest(
        model_name=model,
        inputs=[tensor()] if inputs is None else list(inputs),
        raw_input_contents=[FOUR] if raw is None else list(raw),
        outputs=[Requested(name=output) if isinstance(output, str) else output for output in outputs],
        **fields,
    )
    for key, value in (parameters or {}).items():
        message.parameters[key].CopyFrom(value)
    return message


def infer(channel: grpc.Channel, message: pb.ModelInferRequest) -> pb.ModelInferResponse:
    return pb.ModelInferResponse.FromString(call(channel, "ModelInfer", message.SerializeToString()))


def answers_right(channel: grpc.Channel, model: str = "identity_fp32") -> bool:
    """Say whether the daemon still computes what it should."""
    return list(infer(channel, request(model)).raw_output_contents) == [FOUR]


def queue_depth(daemon: DaemonProcess, model: str) -> int:
    """How many requests wait for a model, those that are being computed not counted."""
    with grpc.insecure_channel(f"unix:{daemon.state}/run/admin.sock") as channel:
        answer = call(channel, "/appliance.admin.v1.ApplianceAdmin/Status", b"")
    return next(row.queue_depth for row in admin_pb.StatusResponse.FromString(answer).models if row.name == model)
