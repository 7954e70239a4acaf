"""ModelStreamInfer: answers in the order of the requests, errors among them, until the client has said enough."""

import itertools
import queue
import threading

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.wire import FOUR, SERVICE, TIMEOUT_S, Parameter, answers_right, fp32, request

FINAL = "triton_final_response"
ENDING = [("triton_grpc_error", "true")]


@pytest.fixture
def answers():
    """(result, error) of each response, as tritonclient hands them over."""
    return queue.Queue()


@pytest.fixture
def client(daemon, answers):
    with triton.InferenceServerClient(daemon.address) as client:
        yield client


def start(client, answers, **options):
    client.start_stream(lambda result, error: answers.put((result, error)), **options)


def one_row(value):
    array = np.full((1, 4), value, np.float32)
    return [triton.InferInput("INPUT0", array.shape, "FP32").set_data_from_numpy(array)]


def stream(channel, messages, metadata=(), timeout_s=TIMEOUT_S):
    """The raw stream: yields parsed responses."""
    method = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
    data = (message if isinstance(message, bytes) else message.SerializeToString() for message in messages)
    return map(pb.ModelStreamInferResponse.FromString, method(data, metadata=metadata, timeout=timeout_s))


def test_answers_keep_the_order_of_the_requests(client, answers):
    models = ["identity_fp32", "slow", "keeps_fp32"]
    start(client, answers)
    for number in range(60):
        client.async_stream_infer(models[number % 3], one_row(number), request_id=str(number))

    found = [answers.get(timeout=TIMEOUT_S) for _ in range(60)]

    assert [error for _, error in found] == [None] * 60
    assert [result.get_response().id for result, _ in found] == [str(number) for number in range(60)]
    assert [result.as_numpy("OUTPUT0")[0, 0] for result, _ in found] == list(range(60))


def test_every_response_says_that_it_is_the_last_one_of_its_request(client, answers):
    start(client, answers)
    client.async_stream_infer("identity_fp32", one_row(1), enable_empty_final_response=True)

    result, _ = answers.get(timeout=TIMEOUT_S)

    assert result.get_response().parameters[FINAL].bool_param is True
    assert answers.empty()


def test_an_error_does_not_end_the_stream(client, answers):
    start(client, answers)
    for model in ("identity_fp32", "nowhere", "fails", "identity_fp32"):
        client.async_stream_infer(model, one_row(1), request_id=model)

    found = [answers.get(timeout=TIMEOUT_S) for _ in range(4)]

    assert [error is None for _, error in found] == [True, False, False, True]
    assert "[request id: nowhere] Request for unknown model: 'nowhere' is not found" in found[1][1].message()
    assert "[request id: fails]" in found[2][1].message()


def test_an_error_names_its_request(channel):
    (answer,) = stream(channel, [request("nowhere", id="e1", model_version="3")])

    head = answer.infer_response
    assert answer.error_message
    assert (head.id, head.model_name, head.model_version) == ("e1", "nowhere", "3")
    assert head.parameters[FINAL].bool_param is True
    assert not head.outputs
    assert not head.raw_output_contents


def test_bytes_that_are_no_request_are_an_error_like_any_other(channel):
    found = list(stream(channel, [b"\xff\xff", request("identity_fp32"), b"\x0b"]))

    assert [bool(answer.error_message) for answer in found] == [True, False, True]
    assert list(found[1].infer_response.raw_output_contents) == [FOUR]


def test_the_header_turns_an_error_into_a_status_that_ends_the_stream(channel):
    found = []

    with pytest.raises(grpc.RpcError) as ended:
        found.extend(
            stream(channel, [request("identity_fp32"), request("nowhere"), request("identity_fp32")], ENDING)
        )

    assert ended.value.code() is grpc.StatusCode.NOT_FOUND
    assert "Request for unknown model: 'nowhere' is not found" in ended.value.details()
    assert answers_right(channel)


def test_the_header_ends_a_stream_that_is_still_open(channel):
    """The client has not half-closed: the error alone must end the call."""
    closing = threading.Event()

    def messages():
        yield request("nowhere")
        closing.wait(TIMEOUT_S)

    with pytest.raises(grpc.RpcError) as ended:
        list(stream(channel, messages(), ENDING))
    closing.set()

    assert ended.value.code() is grpc.StatusCode.NOT_FOUND


def test_errors_after_the_one_that_ended_the_stream_are_forgotten(channel, daemon):
    messages = [request("slow"), *[request("nowhere")] * 600]

    with pytest.raises(grpc.RpcError) as ended:
        list(stream(channel, messages, ENDING))

    assert ended.value.code() is grpc.StatusCode.NOT_FOUND
    assert answers_right(channel)
    assert daemon.complaints == []


def test_tritonclient_reports_the_status_of_an_ended_stream(client, answers):
    start(client, answers, headers=dict(ENDING))
    client.async_stream_infer("nowhere", one_row(1))

    _, error = answers.get(timeout=TIMEOUT_S)

    assert error.status() == "StatusCode.NOT_FOUND"


def test_a_stream_without_requests_ends_well(channel):
    assert list(stream(channel, [])) == []


def test_requests_of_one_stream_share_batches(client, answers, channel):
    before = executions(channel)
    start(client, answers)
    for number in range(64):
        client.async_stream_infer("slow", one_row(number))
    for number in range(64):
        result, _ = answers.get(timeout=TIMEOUT_S)
        assert result.as_numpy("OUTPUT0")[0, 0] == number

    assert executions(channel) - before < 32


def executions(channel):
    data = pb.ModelStatisticsRequest(name="slow").SerializeToString()
    answer = channel.unary_unary(f"/{SERVICE}/ModelStatistics")(data, timeout=TIMEOUT_S)
    return pb.ModelStatisticsResponse.FromString(answer).model_stats[0].execution_count


def test_a_thousand_requests_at_once_are_all_answered(channel):
    """More than the stream's window: the daemon reads on as it answers."""
    messages = (request("identity_fp32", None, [fp32((n, n, n, n))], id=str(n)) for n in range(1000))

    found = list(stream(channel, messages))

    assert [answer.infer_response.id for answer in found] == [str(n) for n in range(1000)]
    assert found[999].infer_response.raw_output_contents[0] == fp32((999,) * 4)


@pytest.mark.slow
def test_a_cancelled_stream_leaves_nothing_behind(channel):
    method = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
    for _ in range(20):
        endless = (request("slow").SerializeToString() for _ in itertools.count())
        call = method(endless, timeout=TIMEOUT_S)
        next(call)
        call.cancel()

    assert answers_right(channel, "slow")


def test_an_expired_stream_ends_with_its_deadline(channel):
    waiting = threading.Event()

    def messages():
        yield request("identity_fp32")
        waiting.wait(TIMEOUT_S)

    with pytest.raises(grpc.RpcError) as ended:
        list(stream(channel, messages(), timeout_s=0.3))
    waiting.set()

    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert answers_right(channel)


def test_parameters_are_checked_in_a_stream_too(channel):
    bad = request("identity_fp32", parameters={"triton_mine": Parameter(bool_param=True)})

    (answer,) = stream(channel, [bad])

    assert "parameter keys starting with 'triton_' are reserved" in answer.error_message
