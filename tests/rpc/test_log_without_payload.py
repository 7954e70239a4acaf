"""What a model refuses is told to its client, and to nobody else."""

from pathlib import Path

import numpy as np
from onnx import helper

from tests.rpc.wire import refusal, request, tensor
from tests.support.daemon import DaemonProcess
from tests.support.onnx_models import tensor as onnx_tensor
from tests.support.onnx_models import write_graph

VALUE = 777_123_456_789


def test_a_value_that_onnx_runtime_refuses_is_in_the_answer_and_not_in_the_log(tmp_path: Path) -> None:
    write_graph(
        tmp_path / "pick" / "1" / "model.onnx",
        [helper.make_node("Gather", ["table", "INPUT0"], ["OUTPUT0"])],
        [onnx_tensor("INPUT0", "INT64", ["N"])],
        [onnx_tensor("OUTPUT0", "FP32", ["N"])],
        {"table": np.arange(4, dtype=np.float32)},
    )
    message = request("pick", [tensor("INPUT0", "INT64", (1,))], [np.array([VALUE], np.int64).tobytes()])
    with DaemonProcess(tmp_path) as daemon:
        with daemon.channel() as channel:
            _, details = refusal(channel, "ModelInfer", message.SerializeToString())
        log = daemon.log

    assert str(VALUE) in details
    assert str(VALUE) not in log
