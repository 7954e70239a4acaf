"""Sends inferences on one stream, many ahead of their answers, until the server ends it; prints what became of them.

Runs in the machine, with the packages of a software tree: stream.py SITE.
"""

import json
import queue
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

import grpc
import numpy as np

from appliance.rpc.pb import grpc_service_pb2 as pb

SOCKET = "unix:/run/appliance/appliance.sock"
SHARED = Path("/shared")
AHEAD = 64  # requests without an answer yet
LOADED = 100  # answers, after which whoever waits may go on


def main() -> None:
    image = np.load(SHARED / "models/digits/golden/4.input0.pixel_values.npy")
    may_send: queue.SimpleQueue[None] = queue.SimpleQueue()
    for _ in range(AHEAD):
        may_send.put(None)
    sent = 0

    def requests():
        nonlocal sent
        while True:
            may_send.get()
            request = pb.ModelInferRequest(model_name="digits", id=str(sent))
            request.inputs.add(name="pixel_values", datatype="FP32", shape=image.shape)
            request.raw_input_contents.append(image.tobytes())
            sent += 1
            yield request

    answered, wrong, expected, end = 0, 0, None, ""
    with grpc.insecure_channel(SOCKET) as channel:
        infer = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            pb.ModelInferRequest.SerializeToString,
            pb.ModelStreamInferResponse.FromString,
        )
        try:
            for answer in infer(requests()):
                got = answer.infer_response.raw_output_contents
                expected = expected or list(got)
                # In the order of the requests, so that one that is left out shows.
                in_turn = answer.infer_response.id == str(answered) and not answer.error_message
                right = in_turn and list(got) == expected
                answered, wrong = answered + 1, wrong + (not right)
                may_send.put(None)
                if answered == LOADED:
                    (SHARED / "loaded").touch()
        except grpc.RpcError as error:
            end = f"{error.code().name}: {error.details()}"
    sys.stdout.write(json.dumps({"sent": sent, "answered": answered, "wrong": wrong, "end": end}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
