"""An open stream does not keep a stopping daemon waiting."""

import queue
import time

import grpc
import numpy as np

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.support.daemon import ROOT, DaemonProcess

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"


def test_an_idle_stream_ends_with_unavailable_when_the_daemon_stops():
    image = np.load(ROOT / "models/digits/golden/seven.image.npy")
    request = pb.ModelInferRequest(model_name="digits", id="first", raw_input_contents=[image.tobytes()])
    request.inputs.add(name="image", datatype="FP32", shape=image.shape)
    sent: queue.Queue[bytes | None] = queue.Queue()
    sent.put(request.SerializeToString())

    with DaemonProcess(ROOT / "models") as daemon, daemon.channel() as channel:
        answers = channel.stream_stream(PATH)(iter(sent.get, None))
        first = pb.ModelStreamInferResponse.FromString(next(answers))
        started_s = time.monotonic()
        daemon.terminate()
        try:
            next(answers)
        except grpc.RpcError as error:
            code = error.code()
        status = daemon.wait()
        took_s = time.monotonic() - started_s
        sent.put(None)

    assert first.infer_response.id == "first"
    assert code is grpc.StatusCode.UNAVAILABLE
    assert status == 0
    assert took_s < 15  # half the drain timeout: nothing waited for the stream
