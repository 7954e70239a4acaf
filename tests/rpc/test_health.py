"""grpc.health.v1 follows what the models do; reflection names the services."""

import asyncio
import queue
import threading
from types import SimpleNamespace

import grpc
import pytest
import tritonclient.grpc as triton
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from appliance.rpc.health_service import HealthService
from tests.rpc.packages import write_onnx_identity
from tests.support.daemon import DaemonProcess

TIMEOUT_S = 30.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    directory = tmp_path_factory.mktemp("health")
    write_onnx_identity(directory, "left", "FP32")
    write_onnx_identity(directory, "right", "FP32")
    return directory


@pytest.fixture
def client(daemon):
    with triton.InferenceServerClient(daemon.address) as client:
        yield client


@pytest.fixture
def health(channel):
    return health_pb2_grpc.HealthStub(channel)


def asked(service):
    return health_pb2.HealthCheckRequest(service=service)


class Watch:
    """Statuses as they arrive."""

    def __init__(self, health, service):
        self._statuses = queue.Queue()
        self._call = health.Watch(asked(service))
        self._thread = threading.Thread(target=self._read)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._call.cancel()
        self._thread.join()

    def next(self):
        return self._statuses.get(timeout=TIMEOUT_S)

    def _read(self):
        try:
            for response in self._call:
                self._statuses.put(response.status)
            self._statuses.put("ended")
        except grpc.RpcError as error:
            self._statuses.put(error.code())


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "left", "left/1"])
def test_what_serves_is_serving(health, service):
    assert health.Check(asked(service), timeout=TIMEOUT_S).status == SERVING


@pytest.mark.parametrize("service", ["nowhere", "left/2"])
def test_what_nobody_knows_is_not_found(health, service):
    with pytest.raises(grpc.RpcError) as refused:
        health.Check(asked(service), timeout=TIMEOUT_S)

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert f"'{service}'" in refused.value.details()


@pytest.mark.parametrize("service", ["left", "left/1"])
def test_a_watch_follows_a_model_that_is_unloaded_and_loaded(health, client, service):
    with Watch(health, service) as watch:
        seen = [watch.next()]
        client.unload_model("left")
        seen.append(watch.next())
        client.load_model("left")
        seen.append(watch.next())

    assert seen == [SERVING, NOT_SERVING, SERVING]


def test_a_watch_of_another_model_hears_nothing(health, client):
    with Watch(health, "right") as watch:
        first = watch.next()
        client.unload_model("left")
        client.load_model("left")
        client.unload_model("right")
        second = watch.next()
    client.load_model("right")

    assert (first, second) == (SERVING, NOT_SERVING)


def test_a_watch_of_the_unknown_waits_for_it(health, client, models):
    with Watch(health, "late") as watch:
        first = watch.next()
        write_onnx_identity(models, "late", "FP32")
        client.load_model("late")
        seen = [watch.next()]
        while seen[-1] != SERVING:
            seen.append(watch.next())

    assert first == SERVICE_UNKNOWN
    assert seen in ([SERVING], [NOT_SERVING, SERVING])


def test_many_watches_come_and_go(health, client):
    for _ in range(50):
        with Watch(health, "") as watch:
            assert watch.next() == SERVING

    client.unload_model("left")
    client.load_model("left")
    assert health.Check(asked("left"), timeout=TIMEOUT_S).status == SERVING


def test_garbage_is_refused(channel):
    for method in (
        channel.unary_unary("/grpc.health.v1.Health/Check"),
        lambda data, timeout: list(channel.unary_stream("/grpc.health.v1.Health/Watch")(data, timeout=timeout)),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            method(b"\x0a\x05\xff", timeout=TIMEOUT_S)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.slow
def test_a_stopping_daemon_tells_its_watchers_and_ends(models):
    with DaemonProcess(models) as daemon, daemon.channel() as channel:
        with Watch(health_pb2_grpc.HealthStub(channel), "") as watch:
            first = watch.next()
            daemon.terminate()
            rest = [watch.next(), watch.next()]
        status = daemon.wait(10)

    assert first == SERVING
    assert rest == [NOT_SERVING, "ended"]
    assert status == 0


def test_a_watcher_that_is_just_being_told_hears_of_the_stop_too():
    health = HealthService(SimpleNamespace(ready=True, watch=lambda _: lambda: None))

    async def watch():
        statuses = health.service.server_streams["Watch"](b"", None)
        seen = [await anext(statuses)]
        health.drain()
        return seen + [status async for status in statuses]

    seen = [health_pb2.HealthCheckResponse.FromString(data).status for (data,) in asyncio.run(watch())]

    assert seen == [SERVING, NOT_SERVING]


def test_reflection_lists_and_describes_the_services(channel):
    reflection = ProtoReflectionDescriptorDatabase(channel)

    services = set(reflection.get_services())
    service = DescriptorPool(reflection).FindServiceByName("inference.GRPCInferenceService")

    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services
    assert not [name for name in services if "admin" in name]
    assert {"ModelInfer", "ModelStreamInfer", "RepositoryModelLoad"} <= set(service.methods_by_name)


@pytest.mark.slow
def test_reflection_can_be_switched_off(models):
    with DaemonProcess(models, settings={"SERVER_REFLECTION": "false"}) as daemon, daemon.channel() as channel:
        with pytest.raises(grpc.RpcError) as refused:
            ProtoReflectionDescriptorDatabase(channel).get_services()

        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
