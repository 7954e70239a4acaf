"""Running one batch on one instance: join, compute, split, count."""

import time
from collections.abc import Sequence

import numpy as np

from appliance.backends.base import Array, ModelInstance
from appliance.errors import Failed
from appliance.model.tensor import split_rows
from appliance.serving.request import Batch, InferenceRequest
from appliance.serving.statistics import ExecutionTimes, ModelStatistics


def execute_batch(instance: ModelInstance, batch: Batch, statistics: ModelStatistics, *, batched: bool) -> None:
    """Fill in `result` of every request of the batch.

    Raises InvalidInput when the data are at fault, Failed otherwise; then no result is filled in and nothing counted.
    """
    if len(batch.requests) == 1:
        _execute_single(instance, batch.requests[0], statistics, batched=batched)
    else:
        _execute_joined(instance, batch, statistics, batched=batched)


def _execute_single(
    instance: ModelInstance, request: InferenceRequest, statistics: ModelStatistics, *, batched: bool
) -> None:
    start_ns, start_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
    arrays = instance.execute(request.inputs, request.outputs)
    end_ns, request.computed_ns = time.monotonic_ns(), time.thread_time_ns() - start_cpu_ns
    if batched:
        check_rows(arrays, request.outputs, request.rows)
    request.result = arrays
    statistics.record_single(request.received_ns, request.queued_ns, request.rows, start_ns, end_ns)


def _execute_joined(instance: ModelInstance, batch: Batch, statistics: ModelStatistics, *, batched: bool) -> None:
    requests = batch.requests
    start_ns, start_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
    outputs = _union(requests)
    join = getattr(instance, "execute_joined", None)  # of a JoiningInstance; asking its protocol takes far longer
    if join is None:
        inputs = _join(requests)
        input_ns, start_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        arrays = instance.execute(inputs, outputs)
    else:
        input_ns = start_ns  # what it takes to join is part of its computing
        arrays = join([request.inputs for request in requests], outputs)
    infer_ns, computed_ns = time.monotonic_ns(), time.thread_time_ns() - start_cpu_ns
    if batched:
        check_rows(arrays, outputs, batch.rows)
    _split(requests, outputs, arrays)
    for request in requests:
        request.computed_ns, request.joined = computed_ns, True
    times = ExecutionTimes(start_ns, input_ns, infer_ns, time.monotonic_ns())
    statistics.record_execution(requests, batch.rows, times)


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


def check_rows(arrays: Sequence[Array], outputs: Sequence[str], rows: int) -> None:
    """Raise Failed if an output does not have one row for each row of the input."""
    for name, array in zip(outputs, arrays, strict=True):
        if array.ndim == 0 or array.shape[0] != rows:
            raise Failed(
                f"output '{name}' has shape {list(array.shape)}, expected {rows} rows on axis 0",
                hint="the model has no true batch dimension: set max_batch_size = 0",
            )
