"""The model by ONNX Runtime alone, without a server: the least that its numbers cost. Runs in its own process.

The session is opened by the daemon's own code, so that both use the same options.

Prints one JSON object: batch_size, interval_us (of the starts of two runs; 0: back to back), median_us (wall clock
per run) and cpu_us_per_inference (time of the running thread, by rows).
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from appliance.backends.onnxruntime import open_session

INTRA_OP_THREADS = 1  # the daemon's default
WARM_UP_RUNS = 5


def measure(session: Any, batch_size: int, seconds: float, interval_s: float) -> dict[str, float]:
    (spec,) = session.get_inputs()
    shape = (batch_size, *spec.shape[1:])
    feed = {spec.name: np.random.default_rng(0).random(shape, dtype=np.float32)}
    for _ in range(WARM_UP_RUNS):
        session.run(None, feed)
    walls_s: list[float] = []
    cpu_s = 0.0  # of the runs alone: with one intra-op thread, they are this thread's
    due_s = time.perf_counter()
    end_s = due_s + seconds
    while due_s < end_s:
        before_s, before_cpu_s = time.perf_counter(), time.thread_time()
        session.run(None, feed)
        cpu_s += time.thread_time() - before_cpu_s
        walls_s.append(time.perf_counter() - before_s)
        now_s = time.perf_counter()
        due_s = max(due_s + interval_s, now_s)
        if due_s > now_s:
            time.sleep(due_s - now_s)
    inferences = len(walls_s) * batch_size
    return {
        "batch_size": batch_size,
        "interval_us": interval_s * 1e6,
        "median_us": median(walls_s) * 1e6,
        "cpu_us_per_inference": cpu_s / inferences * 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmark.in_process")
    parser.add_argument("model", type=Path)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--interval-s", type=float, required=True)
    arguments = parser.parse_args()
    session = open_session(arguments.model, intra_op_threads=INTRA_OP_THREADS)
    print(json.dumps(measure(session, arguments.batch_size, arguments.seconds, arguments.interval_s)))


if __name__ == "__main__":
    main()
