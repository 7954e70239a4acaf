"""One named thread that owns one ModelInstance: creates it, warms it up, runs batches, closes it.

A batch that fails fails only its own requests. When a joined batch is refused because of the data, its requests are
run one by one, so that only the sender of the bad data is told.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from appliance.backends.base import Array, BackendModel, ModelInstance
from appliance.errors import ApplianceError, ErrorKind, Failed
from appliance.model.config import InstanceGroup
from appliance.model.config_completion import ServedModel
from appliance.model.tensor import split_rows
from appliance.serving.dynamic_batcher import DynamicBatcher
from appliance.serving.request import Batch, InferenceRequest
from appliance.serving.statistics import ExecutionTimes, ModelStatistics

logger = logging.getLogger(__name__)

Deliver = Callable[[Sequence[InferenceRequest]], None]


class InstanceWorker:
    """Starts its thread at once; `ready` says when the instance is warm, or why it is not."""

    def __init__(
        self,
        name: str,
        create: Callable[[], ModelInstance],
        warm_up: Sequence[InferenceRequest],
        batcher: DynamicBatcher,
        statistics: ModelStatistics,
        deliver: Deliver,
        *,
        batched: bool,
    ) -> None:
        self._create = create
        self._warm_up = warm_up
        self._batcher = batcher
        self._statistics = statistics
        self._deliver = deliver
        self._batched = batched
        self.ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until the thread has closed its instance; False if it did not in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            instance = self._create()
        except BaseException as error:  # noqa: BLE001  (reported to whoever loads; there is no one else to tell)
            self.ready.set_exception(error)
            return
        try:
            if self._warm(instance):
                self._serve(instance)
        finally:
            instance.close()

    def _warm(self, instance: ModelInstance) -> bool:
        try:
            for request in self._warm_up:
                instance.execute(request.inputs, request.outputs)
        except Exception as error:  # noqa: BLE001  (a model that fails its warm-up is not served; the loader says so)
            self.ready.set_exception(error)
            return False
        self.ready.set_result(None)
        return True

    def _serve(self, instance: ModelInstance) -> None:
        while (batch := self._batcher.take()) is not None:
            self._answer(instance, batch)

    def _answer(self, instance: ModelInstance, batch: Batch) -> None:
        try:
            self._execute(instance, batch)
        except ApplianceError as error:
            if error.kind is ErrorKind.INVALID and len(batch.requests) > 1:
                for request in batch.requests:
                    self._answer(instance, Batch([request], request.rows))
                return
            self._fail(batch, error)
        except Exception as error:  # one batch must not end the thread that all later requests need
            logger.exception("execution failed")
            self._fail(batch, Failed(f"execution failed: {error}"))
        self._deliver(batch.requests)

    def _execute(self, instance: ModelInstance, batch: Batch) -> None:
        requests = batch.requests
        start_ns = time.monotonic_ns()
        outputs = requests[0].outputs if len(requests) == 1 else _union(requests)
        inputs = requests[0].inputs if len(requests) == 1 else _join(requests)
        input_ns = time.monotonic_ns()
        arrays = instance.execute(inputs, outputs)
        infer_ns = time.monotonic_ns()
        if self._batched:
            _check_rows(arrays, outputs, batch.rows)
        if len(requests) == 1:
            requests[0].result = arrays
        else:
            _split(requests, outputs, arrays)
        times = ExecutionTimes(start_ns, input_ns, infer_ns, time.monotonic_ns())
        self._statistics.record_execution(requests, batch.rows, times)

    def _fail(self, batch: Batch, error: ApplianceError) -> None:
        for request in batch.requests:
            request.error = error
            self._statistics.record_failure(request)


def instance_workers(
    model: BackendModel,
    served: ServedModel,
    warm_up: Sequence[InferenceRequest],
    batcher: DynamicBatcher,
    statistics: ModelStatistics,
    deliver: Deliver,
) -> list[InstanceWorker]:
    """Start one worker for each instance of each group."""

    def start(group: InstanceGroup, index: int) -> InstanceWorker:
        return InstanceWorker(
            f"{group.name}_{index}"[:15],
            lambda: model.create_instance(group),
            warm_up,
            batcher,
            statistics,
            deliver,
            batched=served.max_batch_size > 0,
        )

    return [start(group, index) for group in served.config.instance_group for index in range(group.count)]


def _union(requests: Sequence[InferenceRequest]) -> tuple[str, ...]:
    """Output names that any of the requests wants."""
    first = requests[0].outputs
    if all(request.outputs == first for request in requests):
        return first
    return tuple(dict.fromkeys(name for request in requests for name in request.outputs))


def _join(requests: Sequence[InferenceRequest]) -> dict[str, Array]:
    """Join the rows of all requests, input by input: the only copy of the data between socket and runtime."""
    return {name: np.concatenate([request.inputs[name] for request in requests]) for name in requests[0].inputs}


def _split(requests: Sequence[InferenceRequest], outputs: Sequence[str], arrays: Sequence[Array]) -> None:
    """Give each request views of its own rows."""
    rows = [request.rows for request in requests]
    parts = {name: split_rows(array, rows) for name, array in zip(outputs, arrays, strict=True)}
    for index, request in enumerate(requests):
        request.result = [parts[name][index] for name in request.outputs]


def _check_rows(arrays: Sequence[Array], outputs: Sequence[str], rows: int) -> None:
    for name, array in zip(outputs, arrays, strict=True):
        if array.ndim == 0 or array.shape[0] != rows:
            raise Failed(
                f"output '{name}' has shape {list(array.shape)}, expected {rows} rows on axis 0",
                hint="the model has no true batch dimension: set max_batch_size = 0",
            )
