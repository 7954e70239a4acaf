"""Infers all the time from four clients until /shared/end is there, and prints what became of the requests.

Runs in the machine, with the packages of a software tree: load.py SITE.
"""

import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import grpc
import numpy as np

from appliance.rpc.pb import grpc_service_pb2 as pb

SOCKET = "unix:/run/appliance/appliance.sock"
SHARED = Path("/shared")
CLIENTS = 4
LOADED = 100  # answers, after which whoever waits may go on


class Load:
    """What became of the requests: answered, wrong, failed (taken, and lost), refused (nobody took it)."""

    def __init__(self) -> None:
        self.counts = {"answered": 0, "wrong": 0, "failed": 0, "refused": 0}
        self._lock = threading.Lock()
        image = np.load(SHARED / "models/digits/golden/4.input0.pixel_values.npy")
        self._request = pb.ModelInferRequest(model_name="digits")
        self._request.inputs.add(name="pixel_values", datatype="FP32", shape=image.shape)
        self._request.raw_input_contents.append(image.tobytes())

    def client(self) -> None:
        expected = None
        with grpc.insecure_channel(SOCKET) as channel:
            infer = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelInfer",
                pb.ModelInferRequest.SerializeToString,
                pb.ModelInferResponse.FromString,
            )
            while not (SHARED / "end").exists():
                try:
                    answer = infer(self._request, timeout=20).raw_output_contents[0]
                except grpc.RpcError as error:
                    self._count(why_not(error))
                    time.sleep(0.02)  # as every client does that tries again
                else:
                    expected = expected or answer
                    self._count("answered" if answer == expected else "wrong")

    def _count(self, kind: str) -> None:
        with self._lock:
            self.counts[kind] += 1
            if self.counts["answered"] == LOADED:
                (SHARED / "loaded").touch()


def why_not(error: grpc.RpcError) -> str:
    """Tell a request that nobody took from one that was taken and lost."""
    words = ("has stopped accepting", "failed to connect")
    if error.code() is grpc.StatusCode.UNAVAILABLE and any(word in error.details() for word in words):
        return "refused"
    sys.stdout.write(f"{error.code()} {error.details()}\n")
    return "failed"


def main() -> None:
    load = Load()
    clients = [threading.Thread(target=load.client) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    sys.stdout.write(json.dumps(load.counts) + "\n")


if __name__ == "__main__":
    main()
