"""Counters of one loaded version, in the words of Triton's ModelStatistics.

Durations are nanoseconds and only ever grow. `queue` is counted for every request and the three `compute_*` counts
are always equal: load generators rely on both. Written by worker threads, read by the transport; one lock.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.serving.request import InferenceRequest


@dataclass(slots=True)
class Duration:
    """How often something was done and how long it took in all."""

    count: int = 0
    total_ns: int = 0

    def add(self, count: int, total_ns: int) -> None:
        """Count `count` more, which took `total_ns` together."""
        self.count += count
        self.total_ns += max(0, total_ns)


@dataclass(slots=True)
class BatchDurations:
    """Executions of one batch size."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(frozen=True, slots=True)
class ExecutionTimes:
    """Instants of one execution, monotonic nanoseconds: taken, inputs ready, computed, outputs ready."""

    start_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int


class ModelStatistics:
    """The counters. Read them under `lock` for a consistent picture."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.last_inference_ms = 0
        self.inference_count = 0
        self.execution_count = 0
        self.success = Duration()
        self.fail = Duration()
        self.queue = Duration()
        self.compute_input = Duration()
        self.compute_infer = Duration()
        self.compute_output = Duration()
        self.batches: dict[int, BatchDurations] = {}

    def record_execution(self, requests: Sequence[InferenceRequest], rows: int, times: ExecutionTimes) -> None:
        """Count one successful execution of `rows` rows for these requests."""
        count = len(requests)
        input_ns, infer_ns = times.input_ns - times.start_ns, times.infer_ns - times.input_ns
        output_ns = times.output_ns - times.infer_ns
        received = sum(request.received_ns for request in requests)
        queued = sum(request.queued_ns for request in requests)
        with self.lock:
            self.last_inference_ms = time.time_ns() // 1_000_000
            self.inference_count += rows
            self.execution_count += 1
            self.success.add(count, count * times.output_ns - received)
            self.queue.add(count, count * times.start_ns - queued)
            # Every request of a batch felt the whole execution: that is how Triton counts.
            self.compute_input.add(count, count * input_ns)
            self.compute_infer.add(count, count * infer_ns)
            self.compute_output.add(count, count * output_ns)
            batch = self.batches.setdefault(rows, BatchDurations())
            batch.compute_input.add(1, input_ns)
            batch.compute_infer.add(1, infer_ns)
            batch.compute_output.add(1, output_ns)

    def record_single(self, received_ns: int, queued_ns: int, rows: int, start_ns: int, end_ns: int) -> None:
        """Count one request that was executed alone: nothing to join, nothing to split."""
        took_ns = end_ns - start_ns
        waited_ns = start_ns - queued_ns
        with self.lock:
            self.last_inference_ms = time.time_ns() // 1_000_000
            self.inference_count += rows
            self.execution_count += 1
            self.success.count += 1
            self.success.total_ns += end_ns - received_ns
            self.queue.count += 1
            self.queue.total_ns += waited_ns
            self.compute_input.count += 1
            self.compute_infer.count += 1
            self.compute_infer.total_ns += took_ns
            self.compute_output.count += 1
            batch = self.batches.get(rows)
            if batch is None:
                batch = self.batches[rows] = BatchDurations()
            batch.compute_input.count += 1
            batch.compute_infer.count += 1
            batch.compute_infer.total_ns += took_ns
            batch.compute_output.count += 1

    def record_failure(self, received_ns: int) -> None:
        """Count one request that got an error instead of an answer."""
        with self.lock:
            self.fail.add(1, time.monotonic_ns() - received_ns)
