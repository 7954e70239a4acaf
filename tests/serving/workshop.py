"""An engine source that stands for the cache and the builder, and reports of boxes with and without a GPU."""

import asyncio
import threading

from appliance.backends.probe import MachineReport, PathReport, ProbeReport
from appliance.backends.tensorrt.build_request import BuildProgress
from appliance.errors import Cancelled, Failed
from appliance.model.execution import ExecutionPath
from appliance.model.identity import ModelName
from tests.support.onnx_models import write_mlp

MLP = ModelName("mlp")


def report(*, usable, detail, remedy=""):
    """What the probe of a box would say of every path."""
    paths = tuple(PathReport(path.value, usable, detail, remedy) for path in ExecutionPath)
    return ProbeReport(paths, MachineReport(), (), None)


WITH_GPU = report(usable=True, detail="as on a box with a GPU")
WITHOUT_GPU = report(usable=False, detail="there is no GPU", remedy="put one in")


class Workshop:
    """An engine source whose builds last until they are released, and then fail."""

    def __init__(self, problem="the builder refuses it"):
        self.problem = problem
        self.begun, self.released = threading.Event(), threading.Event()
        self.asked = 0
        self.discarded = []

    def find(self, available, report):
        self.asked += 1

    def loaded(self, engine, runtime_cache, device_bytes):
        raise AssertionError("nothing is ever loaded here")

    def discard(self, engine, reason):
        self.discarded.append(reason)

    def build(self, available, report, advance, cancelled):
        self.begun.set()
        advance(BuildProgress("Timing tactics", 0.25, 12.0))
        while not self.released.wait(0.005):
            if cancelled.is_set():
                raise Cancelled("the build of the engine was cancelled")
        raise Failed(self.problem)


def write_package(models, execution, more=""):
    (models.root / MLP / "1").mkdir(parents=True, exist_ok=True)
    write_mlp(models.root / MLP / "1" / "model.onnx", (4, 2))
    (models.root / MLP / "model.toml").write_text(f"max_batch_size = 8\nexecution = {execution}\n{more}")


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")
