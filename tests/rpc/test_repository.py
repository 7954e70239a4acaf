"""The model repository extension through Triton's client: index, load, unload, and what it does to requests."""

import json
import signal
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as triton

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.packages import write_broken, write_onnx_identity, write_reference
from tests.rpc.wire import answers_right, call, infer, queue_depth, request, tensor
from tests.support.daemon import DaemonProcess

TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Its own directory: tests add to it."""
    directory = tmp_path_factory.mktemp("repository")
    for name in ("left", "right", "sized"):
        write_onnx_identity(directory, name, "FP32")
    write_reference(directory, "waits", "FP32", 'max_batch_size = 1\nparameters.delay_ms = "300"\n')
    return directory


@pytest.fixture
def client(daemon):
    with triton.InferenceServerClient(daemon.address) as client:
        yield client


def index(client, name):
    rows = client.get_model_repository_index().models
    return [(row.version, row.state, row.reason) for row in rows if row.name == name]


def infer_once(client, model, rows=1):
    array = np.ones((rows, 4), np.float32)
    inputs = [triton.InferInput("INPUT0", array.shape, "FP32").set_data_from_numpy(array)]
    return np.array_equal(client.infer(model, inputs).as_numpy("OUTPUT0"), array)


def status_of(call, *arguments, **named):
    with pytest.raises(triton.InferenceServerException) as refused:
        call(*arguments, **named)
    return refused.value.status(), refused.value.message()


def wait_until(condition):
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_model_that_serves_is_listed_as_ready(client):
    assert index(client, "left") == [("1", "READY", "")]


def test_an_unloaded_model_is_not_ready_and_says_why(client):
    client.unload_model("left")

    wait_until(lambda: index(client, "left") == [("1", "UNAVAILABLE", "unloaded")])
    assert not client.is_model_ready("left")
    assert client.is_server_ready()
    assert status_of(infer_once, client, "left")[0] == "StatusCode.NOT_FOUND"
    assert status_of(client.get_model_metadata, "left", "1")[0] == "StatusCode.UNAVAILABLE"
    assert [row.name for row in client.get_model_repository_index().models] == ["left", "right", "sized", "waits"]


def test_a_loaded_model_serves_again(client):
    client.unload_model("left")
    client.load_model("left")

    assert client.is_model_ready("left")
    assert infer_once(client, "left")
    assert index(client, "left") == [("1", "READY", "")]


def test_unload_may_be_asked_twice(client):
    client.unload_model("right")
    client.unload_model("right", unload_dependents=True)

    assert not client.is_model_ready("right")
    client.load_model("right")


def test_a_loading_override_is_in_force_until_the_next_load(client):
    client.load_model("sized", config=json.dumps({"max_batch_size": "16"}))

    overridden = client.get_model_config("sized").config.max_batch_size
    took_sixteen = infer_once(client, "sized", rows=16)
    client.load_model("sized")

    assert (overridden, took_sixteen) == (16, True)
    assert client.get_model_config("sized").config.max_batch_size == 8
    assert status_of(infer_once, client, "sized", rows=16)[0] == "StatusCode.INVALID_ARGUMENT"


def test_a_load_that_fails_leaves_what_served_before(client, daemon):
    status, message = status_of(client.load_model, "sized", config='{"backend": "tensorrt"}')

    assert status == "StatusCode.INTERNAL"
    assert "failed to load 'sized'" in message
    assert infer_once(client, "sized")
    assert client.is_server_ready()
    ((_, state, reason),) = index(client, "sized")
    assert state == "READY"
    assert "bring the ONNX file" in reason


def test_the_override_of_a_load_that_failed_is_forgotten(client, daemon):
    status_of(client.load_model, "sized", config='{"backend": "tensorrt"}')
    reloads, attempts = daemon.log.count("reloaded"), daemon.log.count("loading sized")

    daemon.popen.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.log.count("reloaded") > reloads)

    assert daemon.log.count("loading sized") == attempts
    assert infer_once(client, "sized")


def test_a_package_that_appears_can_be_loaded(client, models):
    assert status_of(client.load_model, "new")[1].startswith("failed to load 'new', failed to poll")
    write_onnx_identity(models, "new", "FP32")

    client.load_model("new")

    assert infer_once(client, "new")
    client.unload_model("new")


def test_a_broken_package_says_why_and_disturbs_nobody(client, models):
    write_broken(models)

    status, message = status_of(client.load_model, "broken")

    assert status == "StatusCode.INTERNAL"
    assert "failed to load 'broken', no version is available: " in message
    assert "ONNX Runtime refuses model.onnx" in message
    assert str(models) not in message
    ((version, state, reason),) = index(client, "broken")
    assert (version, state) == ("1", "UNAVAILABLE")
    assert "ONNX Runtime refuses model.onnx" in reason
    assert not client.is_server_ready()
    assert infer_once(client, "right")
    client.unload_model("broken")
    assert client.is_server_ready()


def test_only_ready_models_are_listed_when_asked(daemon, client):
    client.unload_model("left")
    with daemon.channel() as channel:
        answer = call(channel, "RepositoryIndex", pb.RepositoryIndexRequest(ready=True).SerializeToString())
    client.load_model("left")

    names = {row.name for row in pb.RepositoryIndexResponse.FromString(answer).models}
    assert "right" in names
    assert "left" not in names


@pytest.mark.slow
def test_requests_in_flight_are_answered_by_the_model_that_is_unloaded(daemon, client):
    with daemon.channel() as channel:
        method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        futures = [method.future(request("waits").SerializeToString(), timeout=TIMEOUT_S) for _ in range(4)]
        wait_until(lambda: queue_depth(daemon, "waits") == 3)

        client.unload_model("waits")

        refused = status_of(infer_once, client, "waits")[0]
        assert refused == "StatusCode.NOT_FOUND"
        assert all(future.result() for future in futures)
    client.load_model("waits")


def test_no_request_fails_while_a_model_is_loaded_again_and_again(daemon, client):
    stop, failures, answered = threading.Event(), [], []

    def load():
        with daemon.channel() as channel:
            while not stop.is_set():
                try:
                    infer(channel, request("right", [tensor()]))
                    answered.append(1)
                except Exception as error:  # noqa: BLE001  (any failure is the finding)
                    failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for size in range(1, 21):
        client.load_model("right", config=json.dumps({"max_batch_size": size}))
    stop.set()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(answered) > 20
    with daemon.channel() as channel:
        assert answers_right(channel, "right")


def test_concurrent_loads_and_unloads_of_one_model_settle(daemon, client):
    def toggle(number):
        with triton.InferenceServerClient(daemon.address) as own:
            for _ in range(10):
                own.load_model("left") if number % 2 else own.unload_model("left")

    threads = [threading.Thread(target=toggle, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.load_model("left")

    assert index(client, "left") == [("1", "READY", "")]
    assert infer_once(client, "left")


@pytest.mark.slow
def test_while_models_load_the_server_is_live_but_not_ready(tmp_path):
    write_reference(tmp_path, "slow_start", "FP32", 'max_batch_size = 1\nparameters.delay_ms = "1500"\n')
    daemon = DaemonProcess(tmp_path)
    try:
        daemon.wait_for_listener()
        with triton.InferenceServerClient(daemon.address) as client:
            wait_until(client.is_server_live)
            early = client.is_server_ready(), client.is_model_ready("slow_start")
            status = status_of(infer_once, client, "slow_start")[0]
            daemon.wait_for_log("READY: ")

            assert early == (False, False)
            assert status in ("StatusCode.UNAVAILABLE", "StatusCode.NOT_FOUND")
            assert client.is_server_ready()
            assert client.is_model_ready("slow_start")
    finally:
        daemon.end()
