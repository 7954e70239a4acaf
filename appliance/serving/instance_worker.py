"""One named thread that owns one ModelInstance: creates it, warms it up, compares it with the golden answers, runs
batches, closes it.

When a joined batch fails, its requests are run one by one: if the data of one of them are at fault, only its sender
is told, and its neighbours get their answers.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import count
from typing import Protocol

from appliance.backends.base import BackendModel, ModelInstance
from appliance.errors import ApplianceError, Failed
from appliance.model.config import InstanceGroup
from appliance.model.config_completion import ServedModel
from appliance.serving.dynamic_batcher import NOTHING, DynamicBatcher
from appliance.serving.execution import execute_batch
from appliance.serving.golden_check import GoldenCheck
from appliance.serving.marked_instance import marked
from appliance.serving.pulse import Pulse
from appliance.serving.request import Batch, InferenceRequest
from appliance.serving.statistics import ModelStatistics
from appliance.serving.version_marks import VersionMarks

logger = logging.getLogger(__name__)


class Deliver(Protocol):
    """Hands answered requests back; see Delivery."""

    def __call__(self, requests: Sequence[InferenceRequest], *, busy: bool) -> None: ...


DeviceLost = Callable[[Failed], None]  # a GPU works no longer in this process; may be called from any thread


class InstanceWorker:
    """Starts its thread at once; `ready` says when the instance is warm, or why it is not."""

    def __init__(
        self,
        name: str,
        create: Callable[[], ModelInstance],
        warm_up: Sequence[InferenceRequest],
        golden: GoldenCheck | None,
        batcher: DynamicBatcher,
        statistics: ModelStatistics,
        deliver: Deliver,
        device_lost: DeviceLost,
        *,
        batched: bool,
    ) -> None:
        self._create = create
        self._warm_up = warm_up
        self._golden = golden
        self._batcher = batcher
        self._statistics = statistics
        self._deliver = deliver
        self._device_lost = device_lost
        self._batched = batched
        self._pulse = Pulse()
        self.ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def hung(self, patience_s: float) -> str:
        """Say in a sentence why this instance does not compute any more, '' if it does."""
        if not self._thread.is_alive():
            return "its thread has ended"
        return self._pulse.hung(patience_s)

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the thread has closed its instance; False if it did not in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            instance = self._create()
        except BaseException as error:  # noqa: BLE001  (reported to whoever loads; there is no one else to tell)
            self._report_failure(error)
            return
        try:
            if self._warm(instance):
                self._serve(instance)
        finally:
            instance.close()

    def _warm(self, instance: ModelInstance) -> bool:
        try:
            for request in self._warm_up:
                self._compute(instance, request)
            if self._golden is not None:
                self._golden.run(instance)
        except Exception as error:  # noqa: BLE001  (a model that fails here is not served; the loader says so)
            self._report_failure(error)
            return False
        self.ready.set_result(None)
        return True

    def _report_failure(self, error: BaseException) -> None:
        self.ready.set_exception(error)
        if isinstance(error, Failed) and error.device_lost:
            self._device_lost(error)

    def _serve(self, instance: ModelInstance) -> None:
        while (batch := self._batcher.take(self._pulse.proof_after_s)) is not None:
            if batch is NOTHING:
                self._prove(instance)
                continue
            self._pulse.begin()
            self._answer(instance, batch)
            self._pulse.end()
            del batch  # while this thread waits, nobody's data stay in memory

    def _prove(self, instance: ModelInstance) -> None:
        """Compute the warm-up, though nobody asked."""
        if not self._warm_up:
            return  # a model that takes any size: nothing is known that it could compute
        try:
            self._compute(instance, self._warm_up[0])
        except Exception as error:
            logger.exception("an idle instance does not compute its warm-up any more")
            if isinstance(error, Failed) and error.device_lost:
                self._device_lost(error)

    def _compute(self, instance: ModelInstance, request: InferenceRequest) -> None:
        self._pulse.begin()
        try:
            instance.execute(request.inputs, request.outputs)
        finally:
            self._pulse.end()

    def _answer(self, instance: ModelInstance, batch: Batch) -> None:
        try:
            execute_batch(instance, batch, self._statistics, batched=self._batched)
        except ApplianceError as error:
            if len(batch.requests) > 1:
                for request in batch.requests:
                    self._answer(instance, Batch([request], request.rows))
                return
            self._fail(batch, error)
            if isinstance(error, Failed) and error.device_lost:
                self._device_lost(error)
        except Exception as error:  # one batch must not end the thread that all later requests need
            logger.exception("execution failed")
            self._fail(batch, Failed(f"execution failed: {error}"))
        self._deliver(batch.requests, busy=self._batcher.depth > 0)

    def _fail(self, batch: Batch, error: ApplianceError) -> None:
        for request in batch.requests:
            request.error = error
            self._statistics.record_failure(request.received_ns)


def instance_workers(
    model: BackendModel,
    served: ServedModel,
    warm_up: Sequence[InferenceRequest],
    golden: GoldenCheck | None,
    batcher: DynamicBatcher,
    statistics: ModelStatistics,
    deliver: Deliver,
    device_lost: DeviceLost,
    marks: VersionMarks,
) -> list[InstanceWorker]:
    """Start one worker for each instance of each group; the first of each group gives the golden answers."""
    numbers = count()

    def start(group: InstanceGroup, index: int) -> InstanceWorker:
        number = next(numbers)
        return InstanceWorker(
            f"{group.name}_{index}"[:15],
            lambda: marked(model.create_instance(group), marks, number),
            warm_up,
            golden if index == 0 else None,
            batcher,
            statistics,
            deliver,
            device_lost,
            batched=served.max_batch_size > 0,
        )

    return [start(group, index) for group in served.config.instance_group for index in range(group.count)]
