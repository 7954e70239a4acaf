"""The CUDA binding on a real driver."""

import re
import threading

import numpy as np
import pytest

from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.driver import open_driver
from appliance.backends.cuda.error import CudaError, CudaOutOfMemory
from appliance.backends.cuda.gpu import driver_version, free_bytes, gpu_by_uuid, list_gpus
from appliance.backends.cuda.graph import Graph
from appliance.backends.cuda.memory import DeviceBuffer, PinnedBuffer
from appliance.backends.cuda.stream import Event, Stream
from appliance.errors import ApplianceError

pytestmark = pytest.mark.gpu

MIB = 1 << 20


@pytest.fixture(scope="module")
def driver():
    try:
        driver = open_driver()
    except ApplianceError as error:
        pytest.skip(f"no GPU: {error.message}")
    if not list_gpus(driver):
        pytest.skip("no GPU: the driver shows none")
    return driver


@pytest.fixture
def context(driver):
    context = DeviceContext(driver, list_gpus(driver)[0])
    with context.current():
        yield context
    context.close()


def test_every_gpu_has_a_uuid_a_name_and_a_compute_capability(driver):
    for gpu in list_gpus(driver):
        assert re.fullmatch(r"(GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", gpu.uuid)
        assert gpu.name
        assert re.fullmatch(r"\d+\.\d", gpu.compute_capability)
        assert gpu.total_bytes > 0
        assert gpu_by_uuid(list_gpus(driver), gpu.uuid) == gpu


def test_driver_and_cuda_versions_are_known(driver):
    assert re.fullmatch(r"\d+(\.\d+)+", driver_version())
    assert re.fullmatch(r"\d+\.\d+", driver.cuda_version)


def test_megabytes_travel_to_the_gpu_and_back_unchanged(driver, context):
    data = np.random.default_rng(0).integers(0, 256, 8 * MIB, dtype=np.uint8)
    with (
        PinnedBuffer(driver, data.nbytes) as there,
        PinnedBuffer(driver, data.nbytes) as back,
        DeviceBuffer(driver, data.nbytes) as device,
        Stream(driver) as stream,
        Event(driver) as begin,
        Event(driver) as end,
    ):
        there.array(data.dtype, data.shape)[:] = data
        begin.record(stream)
        stream.upload(device.address, there.address, data.nbytes)
        stream.download(back.address, device.address, data.nbytes)
        end.record(stream)
        stream.synchronize()

        assert np.array_equal(back.array(data.dtype, data.shape), data)
        assert end.milliseconds_since(begin) > 0


def test_a_recorded_copy_is_done_when_it_is_launched(driver, context):
    with (
        PinnedBuffer(driver, 256) as host,
        PinnedBuffer(driver, 256) as back,
        DeviceBuffer(driver, 256) as device,
        Stream(driver) as stream,
    ):
        view, found = host.array(np.dtype(np.uint8), (256,)), back.array(np.dtype(np.uint8), (256,))

        def copy() -> None:
            stream.upload(device.address, host.address, 256)
            stream.download(back.address, device.address, 256)

        found[:] = 0
        with Graph(driver, stream, copy) as graph:
            for value in (3, 4):
                view[:] = value
                graph.launch()
                stream.synchronize()

                assert set(found) == {value}


def test_a_failed_recording_leaves_the_stream_usable(driver, context):
    with Stream(driver) as stream, DeviceBuffer(driver, 256) as device, PinnedBuffer(driver, 256) as host:
        with pytest.raises(CudaError):
            Graph(driver, stream, stream.synchronize)  # waiting cannot be recorded
        stream.upload(device.address, host.address, 256)

        stream.synchronize()


def test_more_memory_than_there_is_fails_alone(driver, context):
    with pytest.raises(CudaOutOfMemory, match="CUDA_ERROR_OUT_OF_MEMORY"):
        DeviceBuffer(driver, 1 << 46)
    with DeviceBuffer(driver, MIB) as buffer:
        assert buffer.address


def test_what_was_closed_is_free_again(driver, context):
    with DeviceBuffer(driver, MIB):
        pass
    before = free_bytes(driver, context.gpu)
    for _ in range(100):
        with (
            DeviceBuffer(driver, 32 * MIB),
            PinnedBuffer(driver, MIB),
            Stream(driver),
            Event(driver),
        ):
            pass

    assert before - free_bytes(driver, context.gpu) < 8 * MIB


def test_a_thread_works_once_the_context_is_current_there(driver, context):
    outcome = []

    def work() -> None:
        context.enter_thread()
        with DeviceBuffer(driver, MIB) as buffer:
            outcome.append(buffer.size_bytes)
        context.leave_thread()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert outcome == [MIB]
