"""An open stream does not keep a stopping daemon waiting."""

import queue

import grpc
import numpy as np
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.support.daemon import ROOT, DaemonProcess

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"


PATIENT = {"SERVER_DRAIN_TIMEOUT_S": "3600"}  # a stream that is waited for makes the process outlast wait()


@pytest.fixture
def sent():
    """What a client has to send: one request, and no end of the stream."""
    image = np.load(ROOT / "models/digits/golden/1.input0.pixel_values.npy")
    request = pb.ModelInferRequest(model_name="digits", id="first", raw_input_contents=[image.tobytes()])
    request.inputs.add(name="pixel_values", datatype="FP32", shape=image.shape)
    requests: queue.Queue[bytes | None] = queue.Queue()
    requests.put(request.SerializeToString())
    return requests


def test_an_idle_stream_ends_with_unavailable_when_the_daemon_stops(sent):
    with DaemonProcess(ROOT / "models", settings=PATIENT) as daemon, daemon.channel() as channel:
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


def test_a_stream_that_is_opened_while_the_daemon_drains_is_refused_and_not_waited_for(sent):
    """As a client does whose stream has just ended: its connection still stands."""
    with DaemonProcess(ROOT / "models", settings=PATIENT) as daemon, daemon.channel() as channel:
        grpc.channel_ready_future(channel).result(10)
        daemon.terminate()
        daemon.wait_for_log("draining")
        answers = channel.stream_stream(PATH)(iter(sent.get, None))
        with pytest.raises(grpc.RpcError) as refused:
            next(answers)
        status = daemon.wait()
        sent.put(None)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "has stopped accepting new inference requests" in refused.value.details()
    assert status == 0
