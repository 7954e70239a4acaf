"""Whether instances still compute: hung executions, long ones that are legal, idle ones that prove themselves."""

import threading

import numpy as np

from appliance.errors import Failed
from appliance.model.config import ModelConfig
from appliance.serving.batching import BatchingPolicy
from appliance.serving.dynamic_batcher import NOTHING, DynamicBatcher
from appliance.serving.instance_worker import InstanceWorker
from appliance.serving.pulse import Pulse
from appliance.serving.request import InferenceRequest
from appliance.serving.statistics import ModelStatistics


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


class GatedInstance:
    """A ModelInstance that computes when it is let."""

    def __init__(self):
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.executions = 0

    def execute(self, inputs, outputs):
        self.entered.set()
        self.gate.wait()
        self.executions += 1
        return [np.zeros((1, 2), np.float32)]

    def close(self):
        pass


def request():
    return InferenceRequest({"x": np.ones((1, 2), np.float32)}, ("y",), 1, None)


def worker(instance, batcher, warm_up=(), lost=None):
    told = lost if lost is not None else []
    made = InstanceWorker(
        "cpu_0",
        lambda: instance,
        list(warm_up),
        None,
        batcher,
        ModelStatistics(),
        lambda requests, *, busy: None,
        told.append,
        batched=True,
    )
    made.ready.result(10)
    return made


def batcher_of():
    return DynamicBatcher(BatchingPolicy.from_config(ModelConfig(max_batch_size=4)), lambda request, error: None)


def test_an_execution_is_hung_when_it_takes_longer_than_patience_and_ten_times_the_longest():
    clock = Clock()
    pulse = Pulse(clock)
    pulse.begin()
    clock.now_s += 61
    assert pulse.hung(60) == "an execution has gone on for 61 s, the longest before it took 0 s"
    pulse.end()
    assert pulse.hung(60) == ""

    pulse.begin()
    clock.now_s += 609
    assert pulse.hung(60) == ""
    clock.now_s += 2
    assert "for 611 s, the longest before it took 61 s" in pulse.hung(60)


def test_proofs_take_a_hundredth_of_the_time_at_most():
    clock = Clock()
    pulse = Pulse(clock)
    assert pulse.proof_after_s == 15
    pulse.begin()
    clock.now_s += 2
    pulse.end()

    assert pulse.proof_after_s == 200


def test_a_worker_whose_instance_hangs_is_told_from_one_that_waits():
    instance, batcher = GatedInstance(), batcher_of()
    made = worker(instance, batcher)
    assert made.hung(0) == ""
    instance.gate.clear()
    instance.entered.clear()
    batcher.submit(request())
    assert instance.entered.wait(10)
    while not made.hung(0):
        pass

    assert "an execution has gone on" in made.hung(0)
    assert made.hung(60) == ""
    instance.gate.set()
    batcher.close()
    assert made.join(10)
    assert made.hung(60) == "its thread has ended"


def test_nobody_asking_is_said_and_work_that_comes_is_taken():
    batcher = batcher_of()
    assert batcher.take(0.01) is NOTHING
    batcher.submit(request())
    batch = batcher.take(0.01)

    assert batch is not None
    assert len(batch.requests) == 1
    batcher.close()
    assert batcher.take(0.01) is None


def test_an_idle_instance_computes_its_warm_up_and_a_lost_device_is_reported_before_a_client_meets_it():
    class LosingInstance(GatedInstance):
        def execute(self, inputs, outputs):
            if self.executions:
                error = Failed("the GPU is gone")
                error.device_lost = True
                told_once.set()
                raise error
            return super().execute(inputs, outputs)

    told_once, lost, batcher = threading.Event(), [], ImpatientBatcher()
    made = worker(LosingInstance(), batcher, [request()], lost)
    assert told_once.wait(10)
    batcher.close()
    assert made.join(10)

    assert str(lost[0]) == "the GPU is gone"


class ImpatientBatcher(DynamicBatcher):
    """Says after a hundredth of a second that nobody asked: the usual wait is a quarter of a minute."""

    def __init__(self):
        super().__init__(BatchingPolicy.from_config(ModelConfig(max_batch_size=4)), lambda request, error: None)

    def take(self, idle_s=None):
        return super().take(0.01)
