"""Clients that leave, wherever their request is at that moment, never disturb those beside them."""

import asyncio
from random import Random

import grpc
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.wire import SERVICE, answers_right, fp32, queue_depth, request

CLIENTS = 240
TIMEOUT_S = 60.0
PATIENCE_S = (0.001, 0.005, 0.02, 0.045, 0.08, 0.15)  # an execution takes 40 ms, the queue up to 1.2 s


@pytest.mark.slow
@pytest.mark.parametrize("leaving", ["cancel", "deadline", "disconnect"])
def test_clients_that_leave_do_not_disturb_their_neighbours(daemon, leaving):
    """Half of them leave: in the queue, in the computation, just before the answer."""
    random = Random(leaving)

    async def stay(channel, number):
        answer = await channel.unary_unary(f"/{SERVICE}/ModelInfer")(body(number), timeout=TIMEOUT_S)
        return pb.ModelInferResponse.FromString(answer)

    async def leave(channel, number):
        patience_s = random.choice(PATIENCE_S)
        if leaving == "disconnect":
            async with grpc.aio.insecure_channel(daemon.address, [("grpc.use_local_subchannel_pool", 1)]) as own:
                own.unary_unary(f"/{SERVICE}/ModelInfer")(body(number), timeout=TIMEOUT_S)
                await asyncio.sleep(patience_s)
            return
        deadline_s = patience_s if leaving == "deadline" else TIMEOUT_S
        call = channel.unary_unary(f"/{SERVICE}/ModelInfer")(body(number), timeout=deadline_s)
        if leaving == "cancel":
            await asyncio.sleep(patience_s)
            call.cancel()
        assert await call.code() in (
            grpc.StatusCode.OK,
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.DEADLINE_EXCEEDED,
        )

    async def scenario():
        async with grpc.aio.insecure_channel(daemon.address) as channel:
            staying, others = [], []
            for number in range(CLIENTS):
                others.append(asyncio.create_task(leave(channel, number)))
                staying.append(asyncio.create_task(stay(channel, number)))
                if number % 40 == 39:
                    await asyncio.sleep(0.03)
            await asyncio.gather(*others)
            return await asyncio.gather(*staying)

    answers = asyncio.run(scenario())

    assert [answer.id for answer in answers] == [str(number) for number in range(CLIENTS)]
    assert [answer.raw_output_contents[0] for answer in answers] == [fp32((n,) * 4) for n in range(CLIENTS)]
    assert queue_depth(daemon, "slow") == 0


def test_a_request_that_fails_in_a_batch_fails_alone(channel):
    """One string that is no text among those of many clients."""
    good, bad = (b"\1\0\0\0a" * 4, b"\1\0\0\0\xff" * 4)
    method = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    inputs = [pb.ModelInferRequest.InferInputTensor(name="INPUT0", datatype="BYTES", shape=[1, 4])]
    futures = [
        method.future(request("identity_bytes", inputs, [bad if number % 5 == 0 else good]).SerializeToString())
        for number in range(100)
    ]

    codes = [future.code() for future in futures]

    assert codes[::5] == [grpc.StatusCode.INVALID_ARGUMENT] * 20
    assert codes.count(grpc.StatusCode.OK) == 80


def test_an_uploading_client_that_dies_costs_nothing(daemon, channel):
    """Half a request, then the connection is gone."""
    before = daemon.rss_bytes
    for _ in range(20):
        with daemon.channel() as own:
            call = own.unary_unary(f"/{SERVICE}/ModelInfer").future(bytes(20_000_000))
            call.cancel()

    assert answers_right(channel)
    assert daemon.rss_bytes - before < 300_000_000


def body(number):
    return request("slow", None, [fp32((number,) * 4)], id=str(number)).SerializeToString()
