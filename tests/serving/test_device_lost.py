"""A GPU that is lost to the process: its batch fails, and whoever can start another process is told."""

import threading

import numpy as np
import pytest

from appliance.backends.cuda.error import CudaError
from appliance.errors import Failed
from appliance.model.config import ModelConfig
from appliance.serving.batching import BatchingPolicy
from appliance.serving.dynamic_batcher import DynamicBatcher
from appliance.serving.instance_worker import InstanceWorker
from appliance.serving.request import InferenceRequest
from appliance.serving.statistics import ModelStatistics

ILLEGAL_ADDRESS, OUT_OF_MEMORY = 700, 2


class FailingInstance:
    """A ModelInstance whose GPU fails."""

    def __init__(self, code):
        self.code, self.closed = code, False

    def execute(self, inputs, outputs):
        raise CudaError("cuStreamSynchronize", self.code, "CUDA_ERROR", "as the driver says")

    def close(self):
        self.closed = True


@pytest.mark.parametrize(("code", "lost"), [(ILLEGAL_ADDRESS, True), (OUT_OF_MEMORY, False)])
def test_only_a_lost_device_is_reported_and_the_batch_fails_either_way(code, lost):
    instance, told, answered = FailingInstance(code), [], threading.Event()
    batcher = DynamicBatcher(BatchingPolicy.from_config(ModelConfig(max_batch_size=4)), lambda request, error: None)
    request = InferenceRequest({"x": np.ones((1, 2), np.float32)}, ("y",), 1, None)

    worker = InstanceWorker(
        "gpu_0",
        lambda: instance,
        [],
        None,
        batcher,
        ModelStatistics(),
        lambda requests, *, busy: answered.set(),
        told.append,
        batched=True,
    )
    worker.ready.result(10)
    batcher.submit(request)
    assert answered.wait(10)
    batcher.close()
    assert worker.join(10)

    assert isinstance(request.error, Failed)
    assert [error.device_lost for error in told] == ([True] if lost else [])
    assert instance.closed


def test_a_device_that_is_lost_while_warming_up_is_reported_too():
    told = []
    batcher = DynamicBatcher(BatchingPolicy.from_config(ModelConfig(max_batch_size=4)), lambda request, error: None)
    warm_up = [InferenceRequest({"x": np.ones((1, 2), np.float32)}, ("y",), 1, None)]

    worker = InstanceWorker(
        "gpu_0",
        lambda: FailingInstance(ILLEGAL_ADDRESS),
        warm_up,
        None,
        batcher,
        ModelStatistics(),
        lambda requests, *, busy: None,
        told.append,
        batched=True,
    )

    with pytest.raises(CudaError):
        worker.ready.result(10)
    assert worker.join(10)
    assert [error.device_lost for error in told] == [True]
