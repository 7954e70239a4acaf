"""The service called by itself, as a client calls it: over its own socket, with the real protocol."""

from collections.abc import Collection

import grpc
from google.protobuf.message import Message

from appliance.rpc.pb import grpc_service_pb2 as pb

_SERVICE = "/inference.GRPCInferenceService/"
_LONGEST_S = 10.0


async def self_call(address: str, models: Collection[str]) -> str:
    """Ask whether the server and each of these models is ready; say in a sentence why not, '' if all are.

    address: 'unix:/path' or host:port, one of the service's own.
    """
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        try:
            live = pb.ServerLiveResponse.FromString(await _answer(channel, "ServerLive", pb.ServerLiveRequest()))
            if not live.live:
                return "the service says that it is not live"
            for model in models:
                data = await _answer(channel, "ModelReady", pb.ModelReadyRequest(name=model))
                if not pb.ModelReadyResponse.FromString(data).ready:
                    return f"the service says that '{model}' is not ready"
        except grpc.aio.AioRpcError as error:
            return f"the service does not answer its own call: {error.code().name}: {error.details()}"
    return ""


async def _answer(channel: grpc.aio.Channel, method: str, request: Message) -> bytes:
    call = channel.unary_unary(f"{_SERVICE}{method}", type(request).SerializeToString, bytes)
    answer: bytes = await call(request, timeout=_LONGEST_S)
    return answer
