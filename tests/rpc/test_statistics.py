"""ModelStatistics counts what load generators rely on."""

import threading

import grpc
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.wire import FOUR, call, infer, refusal, request, tensor


def statistics(channel, name="", version=""):
    message = pb.ModelStatisticsRequest(name=name, version=version)
    answer = call(channel, "ModelStatistics", message.SerializeToString())
    return list(pb.ModelStatisticsResponse.FromString(answer).model_stats)


def counts(channel, name):
    """(requests, queued, failed, rows, executions, computed three times)."""
    (row,) = statistics(channel, name)
    stats = row.inference_stats
    computed = (stats.compute_input.count, stats.compute_infer.count, stats.compute_output.count)
    return (
        stats.success.count,
        stats.queue.count,
        stats.fail.count,
        row.inference_count,
        row.execution_count,
        computed,
    )


@pytest.mark.parametrize("model", ["identity_fp32", "flat_fp32", "keeps_fp32", "slow"])
def test_every_request_is_counted_as_queued_and_computed(channel, model):
    """On the direct path and through a worker alike."""
    shape = (4,) if model == "flat_fp32" else (1, 4)
    before = counts(channel, model)

    for _ in range(5):
        infer(channel, request(model, [tensor(shape=shape)]))

    after = counts(channel, model)
    assert [new - old for new, old in zip(after[:5], before[:5], strict=True)] == [5, 5, 0, 5, 5]
    assert len(set(after[5])) == 1
    assert after[5][0] == after[0]


def test_rows_are_inferences_and_batches_are_executions(daemon, channel):
    """32 clients with 2 rows each against a model that takes 8 rows at a time."""
    before = counts(channel, "slow")
    method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    data = request("slow", [tensor(shape=(2, 4))], [FOUR * 2]).SerializeToString()

    for future in [method.future(data, timeout=30) for _ in range(32)]:
        assert pb.ModelInferResponse.FromString(future.result()).raw_output_contents[0] == FOUR * 2

    *after, computed = counts(channel, "slow")
    requests, queued, failed, rows, executions = (new - old for new, old in zip(after, before[:5], strict=True))
    assert (requests, queued, failed, rows) == (32, 32, 0, 64)
    assert 8 <= executions < 20
    assert len(set(computed)) == 1


def test_batch_rows_add_up_to_the_totals(channel):
    infer(channel, request("keeps_fp32", [tensor(shape=(3, 4))], [FOUR * 3]))

    (row,) = statistics(channel, "keeps_fp32")

    sizes = [batch.batch_size for batch in row.batch_stats]
    assert sizes == sorted(set(sizes))
    assert 3 in sizes
    assert sum(batch.compute_infer.count for batch in row.batch_stats) == row.execution_count
    assert sum(batch.compute_infer.count * batch.batch_size for batch in row.batch_stats) == row.inference_count


def test_durations_and_the_last_inference_grow(channel):
    infer(channel, request("alone"))
    (before,) = statistics(channel, "alone")

    infer(channel, request("alone"))

    (after,) = statistics(channel, "alone")
    delay_ns = 150_000_000
    assert after.last_inference > before.last_inference
    took_ns = after.inference_stats.compute_infer.ns - before.inference_stats.compute_infer.ns
    assert delay_ns <= took_ns
    assert took_ns <= after.inference_stats.success.ns - before.inference_stats.success.ns < 10 * delay_ns


def test_time_in_the_queue_is_counted(channel):
    """Three at once on one instance that takes 150 ms: the second and the third wait."""
    (before,) = statistics(channel, "alone")
    method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    for future in [method.future(request("alone").SerializeToString(), timeout=30) for _ in range(3)]:
        future.result()

    (after,) = statistics(channel, "alone")
    waited_ns = after.inference_stats.queue.ns - before.inference_stats.queue.ns
    assert 400_000_000 < waited_ns < 2_000_000_000


def test_a_failed_execution_is_counted_as_failed(channel):
    before = counts(channel, "fails")

    refusal(channel, "ModelInfer", request("fails").SerializeToString())

    after = counts(channel, "fails")
    assert (after[2] - before[2], after[0] - before[0], after[4]) == (1, 0, 0)


def test_an_empty_name_means_all_models(channel):
    rows = statistics(channel)

    names = [row.name for row in rows]
    assert names == sorted(names)
    assert {"add_sub", "slow", "identity_bf16", "two"} <= set(names)
    assert [row.version for row in rows if row.name == "two"] == ["2"]


def test_statistics_may_be_asked_for_by_version(channel):
    assert [row.version for row in statistics(channel, "two", "2")] == ["2"]
    code, _ = refusal(
        channel, "ModelStatistics", pb.ModelStatisticsRequest(name="two", version="1").SerializeToString()
    )

    assert code is grpc.StatusCode.UNAVAILABLE


def test_counts_are_consistent_while_they_grow(daemon, channel):
    """No reader ever sees half a step."""
    stop = threading.Event()

    def load():
        with daemon.channel() as own:
            while not stop.is_set():
                infer(own, request("keeps_int32", [tensor(datatype="INT32")]))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    pictures = [counts(channel, "keeps_int32") for _ in range(200)]
    stop.set()
    for thread in threads:
        thread.join()

    assert pictures == sorted(pictures)
    for success, queued, _, rows, executions, computed in pictures:
        assert {success, queued, rows, *computed} == {success}
        assert executions <= success
