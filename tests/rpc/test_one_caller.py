"""One caller that waits for each answer: its requests are computed where they arrive."""

import grpc
import numpy as np
import onnxruntime
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.wire import call, infer, request, tensor
from tests.support import onnx_models
from tests.support.daemon import DaemonProcess

ENOUGH_TO_BE_KNOWN = 64


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    (folder / "mlp" / "1").mkdir(parents=True)
    onnx_models.write_mlp(folder / "mlp" / "1" / "model.onnx", (512, 1024, 16))
    (folder / "mlp" / "model.toml").write_text("max_batch_size = 8\n[dynamic_batching]\n")
    return folder


def times(channel):
    """(answered, queued and computed) in ns: what is computed where it arrives has no other part."""
    data = pb.ModelStatisticsRequest(name="mlp").SerializeToString()
    (row,) = pb.ModelStatisticsResponse.FromString(call(channel, "ModelStatistics", data)).model_stats
    stats = row.inference_stats
    return stats.success.ns, stats.queue.ns + stats.compute_infer.ns


def test_most_are_computed_where_they_arrive_and_all_are_right(repository):
    session = onnxruntime.InferenceSession(repository / "mlp" / "1" / "model.onnx")
    rows = np.random.default_rng(7).random((ENOUGH_TO_BE_KNOWN + 32, 1, 512), dtype=np.float32)
    direct = 0
    with DaemonProcess(repository) as daemon, grpc.insecure_channel(daemon.address) as channel:
        for number, row in enumerate(rows):
            before = times(channel)
            answer = infer(channel, request("mlp", [tensor(shape=(1, 512))], [row.tobytes()]))
            after = times(channel)

            got = np.frombuffer(answer.raw_output_contents[0], np.float32)
            assert np.allclose(got, session.run(None, {"INPUT0": row})[0][0], atol=1e-5)
            if number >= ENOUGH_TO_BE_KNOWN:
                direct += after[0] - before[0] == after[1] - before[1]

    assert direct >= 16  # of 32: two are sent to a worker to look for other callers, a busy machine sends more
