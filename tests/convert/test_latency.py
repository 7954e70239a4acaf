"""Latencies: what is measured, not how long it takes."""

import numpy as np

from appliance.convert.forms.latency import measure_latencies
from appliance.convert.samples import Batch
from tests.support.onnx_models import write_mlp


def batch(size, *shape, case=""):
    return Batch(case, size, {"INPUT0": np.ones((size, *shape), dtype=np.float32)})


def test_every_file_is_measured_once_at_each_batch_size(tmp_path):
    files = [write_mlp(tmp_path / f"{name}.onnx", (8, 8)) for name in "ab"]
    found = measure_latencies(files, [batch(4, 8), batch(1, 8), batch(4, 8, case="again")], budget_s=0.01)

    assert [[latency.batch_size for latency in latencies] for latencies in found] == [[1, 4], [1, 4]]
    assert all(latency.median_ms > 0 for latencies in found for latency in latencies)


def test_the_results_come_in_the_order_of_the_files(tmp_path):
    large = write_mlp(tmp_path / "large.onnx", (8, 2048, 2048, 8))  # 10 000 times the work
    small = write_mlp(tmp_path / "small.onnx", (8, 8))
    (first,), (second,) = measure_latencies([large, small], [batch(2, 8)], budget_s=0.01)

    assert first.median_ms > second.median_ms


def test_slow_models_run_a_few_times_and_quick_ones_not_for_ever(tmp_path):
    quick = write_mlp(tmp_path / "quick.onnx", (8, 8))
    ((starved,),) = measure_latencies([quick], [batch(1, 8)], budget_s=0)
    ((lavish,),) = measure_latencies([quick], [batch(1, 8)], budget_s=60)

    assert starved.runs == 10
    assert lavish.runs == 1000
