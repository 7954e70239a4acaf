"""An open stream does not keep a stopping daemon waiting."""

import queue

import grpc
import numpy as np
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.support.daemon import ROOT, DaemonProcess

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"


def test_an_idle_stream_ends_with_unavailable_when_the_daemon_stops():
    image = np.load(ROOT / "models/digits/golden/1.input0.pixel_values.npy")
    request = pb.ModelInferRequest(model_name="digits", id="first", raw_input_contents=[image.tobytes()])
    request.inputs.add(name="pixel_values", datatype="FP32", shape=image.shape)
    sent: queue.Queue[bytes | None] = queue.Queue()
    sent.put(request.SerializeToString())

    # Were the stream waited for, the process would outlast the patience of wait().
    patient = {"SERVER_DRAIN_TIMEOUT_S": "3600"}
    with DaemonProcess(ROOT / "models", settings=patient) as daemon, daemon.channel() as channel:
        answers = channel.stream_stream(PATH)(iter(sent.get, None))
        first = pb.ModelStreamInferResponse.FromString(next(answers))
        daemon.terminate()
        with pytest.raises(grpc.RpcError) as ended:
            next(answers)
        status = daemon.wait()
        sent.put(None)

    assert first.infer_response.id == "first"
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert status == 0
