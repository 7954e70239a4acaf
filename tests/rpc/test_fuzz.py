"""Whatever arrives is answered with OK or with a code that says what is wrong with it, and costs nothing lasting."""

import asyncio
import itertools
import os
import re
from collections import Counter
from random import Random

import grpc
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.fuzzing import SPARE, bad_bytes, bad_call, bad_request
from tests.rpc.packages import write_models, write_onnx_identity
from tests.rpc.wire import SERVICE, answers_right

SEED = int(os.environ.get("FUZZ_SEED", "1"))
IN_FLIGHT = 48
STREAM_LENGTH = 100
TIMEOUT_S = 60.0
GROWTH_BYTES = 64 * 1024 * 1024  # of resident memory, over all cases after the first tenth
EXPECTED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE", "UNIMPLEMENTED"}
OUR_FAULT = re.compile(r"internal error|execution failed|ONNX Runtime failed|loading failed")
MAY_FAIL = {"RepositoryModelLoad"}  # INTERNAL is what Triton says of a load of a bad thing


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Its own directory: one model more, which may be loaded and unloaded."""
    directory = write_models(tmp_path_factory.mktemp("fuzz"))
    write_onnx_identity(directory, SPARE, "FP32")
    return directory


def cases(random, count):
    """(method, messages): half structured, half raw bytes, over all methods and the stream."""
    made = 0
    while made < count:
        choice = random.random()
        if choice < 0.003:
            messages = [
                bad_request(random) if random.random() < 0.6 else bad_bytes(random) for _ in range(STREAM_LENGTH)
            ]
            yield "ModelStreamInfer", messages
            made += len(messages)
            continue
        made += 1
        if choice < 0.5:
            yield "ModelInfer", [bad_request(random)]
        elif choice < 0.8:
            yield "ModelInfer", [bad_bytes(random)]
        else:
            method, data = bad_call(random)
            yield method, [data]


async def answer(channel, method, messages):
    """Names of what was answered, one for each message."""
    path = f"/{SERVICE}/{method}"
    if method == "ModelStreamInfer":
        call = channel.stream_stream(path)(iter(messages), timeout=TIMEOUT_S)
        answers = [pb.ModelStreamInferResponse.FromString(data) async for data in call]
        assert len(answers) == len(messages)
        assert not [entry.error_message for entry in answers if OUR_FAULT.search(entry.error_message)]
        return ["stream error" if entry.error_message else "stream OK" for entry in answers]
    call = channel.unary_unary(path)(messages[0], timeout=TIMEOUT_S)
    code, details = (await call.code()).name, await call.details()
    allowed = EXPECTED | ({"INTERNAL"} if method in MAY_FAIL else set())
    assert code in allowed, (method, code, details, messages[0][:2000])
    assert not OUR_FAULT.search(details), (method, code, details, messages[0][:2000])
    return [code]


async def run(daemon, count, seed):
    """Keep IN_FLIGHT calls going; return what was answered how often."""
    codes, work = Counter(), cases(Random(seed), count)

    async def client():
        async with grpc.aio.insecure_channel(daemon.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            for method, messages in work:
                codes.update(await answer(channel, method, messages))

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(client())
    return codes


def is_sound(daemon):
    with daemon.channel() as channel:
        return all(answers_right(channel, model) for model in ("identity_fp32", "keeps_fp32", "two"))


def test_five_hundred_bad_requests_are_answered(daemon):
    codes = asyncio.run(run(daemon, 500, SEED))

    assert codes.total() >= 500
    assert codes["OK"]
    assert codes["INVALID_ARGUMENT"]
    assert is_sound(daemon)


@pytest.mark.slow
def test_twenty_five_thousand_bad_requests_are_answered_and_leave_nothing_behind(daemon):
    codes = asyncio.run(run(daemon, 2_500, SEED + 1))
    before = daemon.rss_bytes

    codes += asyncio.run(run(daemon, 22_500, SEED + 2))

    growth = daemon.rss_bytes - before
    print(f"{codes.total()} cases: {dict(codes.most_common())}; grown by {growth / 2**20:.1f} MiB")  # noqa: T201
    assert codes.total() >= 25_000
    assert growth < GROWTH_BYTES
    assert is_sound(daemon)


def test_the_same_seed_makes_the_same_cases():
    first, second = ([*itertools.islice(cases(Random(SEED), 300), 200)] for _ in range(2))

    assert first == second
