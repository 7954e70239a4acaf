"""The model without a server: what the runtime alone gives, with the same instances at the same batch size.

The parent calls `run_bare`; `python -m gpu_check.bare TASK` is the process that computes, so that nothing of one run
is left for the next. Inputs go in as NumPy arrays and answers come back as such, as in the daemon.
"""

import hashlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from appliance.backends.base import Array, Backend, BackendModel, LoadRequest
from appliance.backends.engine_file import EngineFile
from appliance.errors import Failed
from appliance.model.config import InstanceGroup
from appliance.registry.package import read_package
from gpu_check.feed import Feed

_WARM_UP_S = 1.0
_START_S = 300.0  # deserialising a large engine for the first time


@dataclass(frozen=True, slots=True)
class BareRun:
    """What the runtime alone gave."""

    rows_per_s: float
    median_us: float  # of one execution


@dataclass(frozen=True, slots=True)
class BareModel:
    """What is loaded: a package, and for TensorRT its engine."""

    path: str  # "tensorrt" or "cpu"
    package: str
    engine: str = ""  # the engine's file
    digest: str = ""  # "sha256:..." of its bytes
    flavour: str = ""


def run_bare(model: BareModel, feed: Feed, batch_size: int, instances: int, seconds: float) -> BareRun:
    """Execute `batch_size` rows at a time, each instance back to back on a thread of its own."""
    with TemporaryDirectory(prefix="gpu-check-") as folder:
        inputs = Path(folder) / "inputs.npz"
        np.savez(inputs, **feed.rows(batch_size))
        task = asdict(model) | {"inputs": str(inputs), "instances": instances, "seconds": seconds}
        command = [sys.executable, "-m", "gpu_check.bare", json.dumps(task)]
        try:
            child = subprocess.run(command, capture_output=True, text=True, timeout=seconds + _START_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise Failed("the bare engine did not end") from error
    if child.returncode != 0:
        words = child.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise Failed(f"the bare engine failed (exit status {child.returncode}): {words[0][:300]}")
    runs: list[list[float]] = json.loads(child.stdout.splitlines()[-1])
    rows = batch_size if feed.batched else 1
    return BareRun(sum(len(run) for run in runs) * rows / seconds, median(each for run in runs for each in run) * 1e6)


def _load(model: BareModel) -> BackendModel:
    package = read_package(Path(model.package))
    version = list(package.versions.values())[-1]
    file, config = package.directory / version.model_file, package.config
    if model.path != "tensorrt":
        from appliance.backends import onnxruntime  # noqa: PLC0415  (heavy)

        backend: Backend = onnxruntime.BACKEND
        return backend.load(LoadRequest(file, config, config.instance_group, config.execution.policy))
    from appliance.backends.tensorrt import tensorrt_backend  # noqa: PLC0415  (heavy)

    engine = _engine(model)
    try:
        request = LoadRequest(file, config, config.instance_group, config.execution.policy, engine=engine)
        return tensorrt_backend.BACKEND.load(request)
    finally:
        engine.close()


def _engine(model: BareModel) -> EngineFile:
    """Read the engine. Raises Failed unless its bytes have the digest that the daemon goes by."""
    file = Path(model.engine)
    data = file.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if digest != model.digest:
        raise Failed(f"{file} has the digest {digest}, expected {model.digest}")
    return EngineFile(file, digest, data, model.flavour)


class _Runners:
    """One thread for each instance; all start together once each of them is warm."""

    def __init__(self, model: BackendModel, group: InstanceGroup, inputs: dict[str, Array], seconds: float) -> None:
        self._model = model
        self._group = group
        self._inputs = inputs
        self._seconds = seconds
        self._outputs = [tensor.name for tensor in model.signature.outputs]
        self._runs: list[list[float]] = []
        self._problem: BaseException | None = None

    def run(self, instances: int) -> list[list[float]]:
        """Return the seconds of every execution, one list for each instance."""
        together = threading.Barrier(instances)
        threads = [threading.Thread(target=self._guarded, args=(together,)) for _ in range(instances)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._problem is not None:
            raise self._problem
        return self._runs

    def _guarded(self, together: threading.Barrier) -> None:
        try:
            self._runs.append(self._measure(together))
        except Exception as error:  # noqa: BLE001  (raised again by the process's main thread)
            together.abort()
            if not isinstance(error, threading.BrokenBarrierError):
                self._problem = error

    def _measure(self, together: threading.Barrier) -> list[float]:
        instance = self._model.create_instance(self._group)
        try:
            warm_s = time.perf_counter() + _WARM_UP_S
            while time.perf_counter() < warm_s:
                instance.execute(self._inputs, self._outputs)
            together.wait()
            found = []
            before_s = time.perf_counter()
            end_s = before_s + self._seconds
            while before_s < end_s:
                instance.execute(self._inputs, self._outputs)
                after_s = time.perf_counter()
                found.append(after_s - before_s)
                before_s = after_s
            return found
        finally:
            instance.close()


def main() -> None:
    task = json.loads(sys.argv[1])
    inputs, instances, seconds = (task.pop(name) for name in ("inputs", "instances", "seconds"))
    described = BareModel(**task)
    model = _load(described)
    with np.load(inputs) as stored:
        arrays = {name: stored[name] for name in stored.files}
    group = read_package(Path(described.package)).config.instance_group[0]
    print(json.dumps(_Runners(model, group, arrays, seconds).run(instances)))
    model.close()


if __name__ == "__main__":
    main()
