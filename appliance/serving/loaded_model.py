"""One version that is in memory: its batcher, its instances, its statistics.

Ownership: created and closed by a loader thread; `infer` runs on the event loop; workers answer through one callback
per batch into that loop.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType

from appliance.backends.base import Array, DeviceModel
from appliance.backends.engine_file import EngineFile
from appliance.errors import ApplianceError, Busy, Failed
from appliance.model.execution import ExecutionPath
from appliance.registry.source import AvailableVersion
from appliance.serving.batching import BatchingPolicy
from appliance.serving.delivery import Delivery
from appliance.serving.direct_path import DirectMeter, DirectPath
from appliance.serving.dynamic_batcher import DynamicBatcher
from appliance.serving.execution_marks import ExecutionMarks
from appliance.serving.golden_check import GoldenCheck
from appliance.serving.instance_worker import DeviceLost, instance_workers
from appliance.serving.marked_instance import marked
from appliance.serving.request import EACH_AT_ONCE, InferenceRequest
from appliance.serving.statistics import ModelStatistics
from appliance.serving.version_opening import open_version
from appliance.serving.warm_up import warm_up_requests

logger = logging.getLogger(__name__)

ENGINE_MISSING = "its engine is being built"


def log_lost_device(error: Failed) -> None:
    """What happens where nobody can start another process."""
    logger.critical("a device is lost: %s", error)


class LoadedModel:
    """Answers inferences of one version until it is closed."""

    def __init__(
        self,
        available: AvailableVersion,
        loop: asyncio.AbstractEventLoop,
        *,
        path: ExecutionPath | None = None,
        passed_over: Mapping[ExecutionPath, str] = MappingProxyType({}),
        engine: EngineFile | None = None,
        gpu_uuid: str = "",
        device_lost: DeviceLost = log_lost_device,
        marks: ExecutionMarks,
    ) -> None:
        """Load, warm up, give the golden answers and be ready. Blocks as long as that takes: for loader threads.

        path: what computes; None: as the instance groups say. passed_over: paths that were preferred, and why they
        do not serve. engine: for TensorRT; it stays the caller's. gpu_uuid: for instance groups that name no GPU.
        device_lost: told when only another process can go on. marks: where it is seen that this version executes.

        Raises an ApplianceError that says why the version cannot be served; then nothing is left behind.
        """
        started_s = time.monotonic()
        self.available = available
        self.path = path
        self.passed_over = dict(passed_over)
        self.name = available.name
        self.version = available.version
        self.version_text = str(available.version)
        self._loop = loop
        self._model, self.served = open_version(available, path, engine, gpu_uuid)
        self._direct: DirectPath | None = None
        self._marks = marks.of(available, self._most_instances())
        self.statistics = ModelStatistics()
        delivery = Delivery(loop, self.statistics)
        self._batcher = DynamicBatcher(BatchingPolicy.from_config(self.served.config), delivery.refuse)
        try:
            self._workers = instance_workers(
                self._model,
                self.served,
                warm_up_requests(self.served, available.directory),
                GoldenCheck.of_package(self.served, available.directory),
                self._batcher,
                self.statistics,
                delivery.deliver,
                device_lost,
                self._marks,
            )
            for worker in self._workers:
                worker.ready.result()
            self.device_bytes = self._measured_device_bytes()
            self._direct = self._direct_path()
        except BaseException:
            self.close()
            raise
        self.load_duration_s = time.monotonic() - started_s

    @property
    def device(self) -> str:
        """The device that really computes."""
        return self._model.device

    @property
    def device_note(self) -> str:
        """Why that is not the device asked for; empty if it is."""
        reasons = [f"not on {path.value}: {reason}" for path, reason in self.passed_over.items()]
        return "; ".join([*reasons, *filter(None, [self._model.device_note])])

    @property
    def awaits_engine(self) -> bool:
        """Whether it serves on another path only until its engine is built."""
        return self.passed_over.get(ExecutionPath.TENSORRT) == ENGINE_MISSING

    def runtime_cache(self) -> bytes:
        """Kernels that the runtime compiled while loading, for the next load; empty if there are none."""
        return self._model.serialized_runtime_cache() if isinstance(self._model, DeviceModel) else b""

    def engine_failed(self, reason: str) -> None:
        """The engine that it waited for could not be built."""
        self.passed_over[ExecutionPath.TENSORRT] = reason

    @property
    def instances(self) -> int:
        """Executable copies."""
        return len(self._workers)

    @property
    def queue_depth(self) -> int:
        """Requests that wait."""
        return self._batcher.depth

    def begin(
        self,
        request: InferenceRequest,
        deliver: Callable[[InferenceRequest], None],
        *,
        any_thread: bool = False,
        together: AbstractContextManager[object] = EACH_AT_ONCE,
    ) -> None:
        """Queue a request; `deliver` is called once with it when it has a result or an error, unless it was left.

        any_thread: `deliver` may be called by the thread that has computed it; else it is called on the event loop.
        together: entered by whichever thread delivers it with others, for all of them.
        Raises Busy when the queue is full or the model is leaving.
        """
        request.deliver = deliver
        request.any_thread, request.together = any_thread, together
        try:
            self._batcher.submit(request)
        except Busy:
            self.statistics.record_failure(request.received_ns)
            raise
        if request.expires_s is not None:
            self._expire_in_time(request, request.expires_s)

    def leave(self, request: InferenceRequest) -> None:
        """Nobody waits for it any more: take it out of the queue."""
        request.leave()
        if request.timer is not None:
            request.timer.cancel()
        self._batcher.discard(request)

    async def infer(self, request: InferenceRequest) -> list[Array]:
        """Compute one request: the output arrays in the order of `request.outputs`.

        If the caller is cancelled while it waits, the request leaves the queue. Raises Busy as `begin` does.
        """
        future: asyncio.Future[list[Array]] = self._loop.create_future()
        self.begin(request, lambda answered: _resolve(future, answered))
        try:
            return await future
        except asyncio.CancelledError:
            self.leave(request)
            raise

    def infer_now(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        rows: int,
        received_ns: int,
        meter: DirectMeter,
        *,
        alone: bool,
    ) -> list[Array] | None:
        """Compute a quick request at once if nothing waits; None if it has to queue. Raises what `infer` raises.

        alone: inferences come one at a time, so it may take a little longer.
        """
        if self._direct is None or self._batcher.depth or not meter.trusts(alone=alone):
            return None
        try:
            return self._direct.compute(inputs, outputs, rows, received_ns, meter)
        except ApplianceError:
            self.statistics.record_failure(received_ns)
            raise

    def hung(self, patience_s: float) -> str:
        """Say in a sentence why one of its instances does not compute any more, '' if all do."""
        reasons = [worker.hung(patience_s) for worker in self._workers]
        self._marks.note_hung([bool(reason) for reason in reasons])
        return next(filter(None, reasons), "")

    def retire(self) -> None:
        """Refuse new requests; what is queued will still be answered."""
        self._batcher.close()

    def close(self) -> None:
        """Answer what is queued, end the instances, give the memory back. Blocks: call it from a loader thread."""
        self._batcher.close()
        for worker in getattr(self, "_workers", ()):
            worker.join()
        if self._direct is not None:
            self._direct.close()
        self._workers = []
        self._model.close()
        self._marks.close()

    def _expire_in_time(self, request: InferenceRequest, expires_s: float) -> None:
        request.timer = self._loop.call_later(expires_s - time.monotonic(), self._batcher.expire, request)
        if request.delivered:  # meanwhile; whoever delivers says so before looking for a timer
            request.timer.cancel()

    def _most_instances(self) -> int:
        """Of all groups, and one of the direct path."""
        return sum(group.count for group in self.served.config.instance_group) + 1

    def _measured_device_bytes(self) -> int:
        """GPU memory that this version took. Raises Failed if that is more than its configuration allows."""
        taken = self._model.device_bytes if isinstance(self._model, DeviceModel) else 0
        allowed = self.available.config.parameter("gpu_memory_limit_bytes")
        if taken and allowed.isdecimal() and taken > int(allowed):
            raise Failed(
                f"it takes {taken} bytes of GPU memory, its parameter gpu_memory_limit_bytes allows {allowed}",
                hint="allow more, fewer instances, or smaller trt_profile_max_shapes",
            )
        return taken

    def _direct_path(self) -> DirectPath | None:
        batching = self.served.config.dynamic_batching
        waits = batching is not None and batching.max_queue_delay_microseconds > 0
        if waits or not self._model.any_thread or not self._workers:
            return None
        instance = self._model.create_instance(self.served.config.instance_group[0])
        instance = marked(instance, self._marks, self._most_instances() - 1)
        return DirectPath(instance, self.statistics, batched=self.served.max_batch_size > 0)


def _resolve(future: "asyncio.Future[list[Array]]", request: InferenceRequest) -> None:
    if future.done():  # the client left
        return
    if request.error is not None:
        future.set_exception(request.error)
    else:
        future.set_result(request.result)
