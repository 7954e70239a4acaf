"""The client of a self-call: a child process. See self_call.

Names of models come as JSON on standard input; what is wrong goes to standard output, nothing if all is well.
"""

import json
import sys
from collections.abc import Collection

import grpc
from google.protobuf.message import Message

from appliance.rpc.pb import grpc_service_pb2 as pb

_SERVICE = "/inference.GRPCInferenceService/"
_LONGEST_S = 10.0  # for one call


def ask(address: str, models: Collection[str]) -> str:
    """Ask whether the server and each of these models is ready; say in a sentence why not, '' if all are."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(address, options) as channel:
        try:
            live = pb.ServerLiveResponse.FromString(_answer(channel, "ServerLive", pb.ServerLiveRequest()))
            if not live.live:
                return "the service says that it is not live"
            for model in models:
                data = _answer(channel, "ModelReady", pb.ModelReadyRequest(name=model))
                if not pb.ModelReadyResponse.FromString(data).ready:
                    return f"the service says that '{model}' is not ready"
        except grpc.RpcError as error:
            return f"the service does not answer its own call: {error.code().name}: {error.details()}"
    return ""


def _answer(channel: grpc.Channel, method: str, request: Message) -> bytes:
    call = channel.unary_unary(f"{_SERVICE}{method}", type(request).SerializeToString, bytes)
    answer: bytes = call(request, timeout=_LONGEST_S)
    return answer


def main() -> None:
    """Ask as told, and say what is wrong."""
    sys.stdout.write(ask(sys.argv[1], json.load(sys.stdin)))
