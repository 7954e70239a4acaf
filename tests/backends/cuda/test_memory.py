"""Buffers, streams and graphs against a stand-in driver that refuses what CUDA refuses."""

import numpy as np
import pytest

from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.driver import Driver
from appliance.backends.cuda.error import CudaError, CudaOutOfMemory
from appliance.backends.cuda.gpu import free_bytes, list_gpus
from appliance.backends.cuda.graph import Graph
from appliance.backends.cuda.memory import DeviceBuffer, PinnedBuffer
from appliance.backends.cuda.stream import Event, Stream
from tests.support.stand_in_cuda import StandInCuda

MIB = 1 << 20


@pytest.fixture
def library():
    return StandInCuda(total_bytes=4 * MIB)


@pytest.fixture
def driver(library):
    driver = Driver(library)
    context = DeviceContext(driver, list_gpus(driver)[0])
    with context.current():
        yield driver
    context.close()
    context.close()

    assert library.empty


def test_bytes_travel_to_the_gpu_and_back(driver):
    data = np.arange(12, dtype=np.float32).reshape(3, 4)
    with PinnedBuffer(driver, 512) as host, DeviceBuffer(driver, 512) as device, Stream(driver) as stream:
        host.array(data.dtype, data.shape, 256)[:] = data
        stream.upload(device.address, host.address + 256, data.nbytes)
        stream.download(host.address, device.address, data.nbytes)
        stream.synchronize()

        assert np.array_equal(host.array(data.dtype, data.shape), data)


def test_an_empty_tensor_has_an_address_and_nothing_to_copy(driver):
    with PinnedBuffer(driver, 0) as host, DeviceBuffer(driver, 0) as device, Stream(driver) as stream:
        stream.upload(device.address, host.address, 0)

        assert device.address
        assert host.array(np.dtype(np.int64), (0, 3)).shape == (0, 3)


def test_too_large_an_allocation_fails_alone_and_leaves_nothing(driver, library):
    with pytest.raises(CudaOutOfMemory):
        DeviceBuffer(driver, 5 * MIB)
    with DeviceBuffer(driver, 3 * MIB) as kept:
        assert kept.size_bytes == 3 * MIB

    assert library.used_bytes == 0


def test_closing_twice_frees_once(driver):
    buffer = DeviceBuffer(driver, 1)
    buffer.close()

    buffer.close()


def test_free_memory_follows_allocations(driver):
    gpu = list_gpus(driver)[0]
    before = free_bytes(driver, gpu)
    with DeviceBuffer(driver, MIB):
        assert before - free_bytes(driver, gpu) == MIB

    assert free_bytes(driver, gpu) == before


def test_a_recorded_sequence_is_executed_only_when_launched(driver, library):
    with PinnedBuffer(driver, 256) as host, DeviceBuffer(driver, 256) as device, Stream(driver) as stream:
        view = host.array(np.dtype(np.uint8), (4,))
        view[:] = 1
        stream.upload(device.address, host.address, 4)
        view[:] = 7
        with Graph(driver, stream, lambda: stream.download(host.address, device.address, 4)) as graph:
            assert list(view) == [7, 7, 7, 7]
            graph.launch()

            assert list(view) == [1, 1, 1, 1]


def test_a_recording_that_fails_leaves_the_stream_usable(driver, library):
    def refuse() -> None:
        raise CudaError("cuLaunchKernel", 900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "")

    with Stream(driver) as stream:
        with pytest.raises(CudaError, match="cuLaunchKernel"):
            Graph(driver, stream, refuse)

        stream.synchronize()


def test_time_between_two_points_is_measured(driver):
    with Stream(driver) as stream, Event(driver) as begin, Event(driver) as end:
        begin.record(stream)
        end.record(stream)
        end.synchronize()

        assert end.milliseconds_since(begin) == 1.5


def test_a_thread_without_the_context_is_refused(library):
    with pytest.raises(CudaError, match="INVALID_CONTEXT"):
        DeviceBuffer(Driver(library), 1)
