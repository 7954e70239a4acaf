"""Requests that cost their sender little and would cost the daemon much, on the transport under test."""

import asyncio
import gc
import json
import time
import weakref
from contextlib import ExitStack

import pytest

from appliance.errors import NotFound
from appliance.rpc.infer import InferPath
from appliance.rpc.pb import grpc_service_pb2 as pb
from appliance.rpc.raw_message import MOST_FIELDS
from appliance.serving.model_table import ModelTable
from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.hostility import Footprint, is_served, undisturbed, wait_until
from tests.rpc.input_errors import INTERNAL, INVALID
from tests.rpc.native_tests import needs_extension
from tests.rpc.wire import refusal, request
from tests.support.daemon import DaemonProcess

EMPTY_RAW, EMPTY_INPUT, UNKNOWN_NUMBER = b"\x3a\0", b"\x2a\0", b"\xf8\1\0"
MIB = 1024 * 1024
LONGEST_S = 2.0  # other clients are answered meanwhile; walking over all of it would take four times as long


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [EMPTY_RAW * (8 * MIB), UNKNOWN_NUMBER + EMPTY_INPUT * (8 * MIB)],
    ids=["usual fields", "after an unusual one"],
)
def test_millions_of_empty_fields_are_refused_before_they_are_looked_at(attacked, data):
    """16 MiB: as objects they would be a GB."""
    with undisturbed(attacked), attacked.channel() as channel:
        started_s = time.monotonic()
        code, details = refusal(channel, "ModelInfer", data)
        took_s = time.monotonic() - started_s

    assert (code, f"more than {MOST_FIELDS} fields" in details) == (INVALID, True)
    assert took_s < LONGEST_S


def test_an_error_that_holds_no_character_reaches_its_client(daemon):
    """A name in a request may hold half of a pair, which no encoding can say."""
    config = json.dumps({"\ud800": 1})[:-1] + ',"\\ud800": 2}'
    message = pb.RepositoryModelLoadRequest(model_name="identity_fp32")
    message.parameters["config"].string_param = config
    with daemon.channel() as channel:
        code, details = refusal(channel, "RepositoryModelLoad", message.SerializeToString())

    assert (code, "\\ud800" in details) == (INTERNAL, True)


def test_what_a_refused_request_brought_is_not_kept():
    """Not even until the collector comes by: refusals may be many, and requests large."""

    table = ModelTable()
    table.started = True

    async def refuse() -> weakref.ref[memoryview]:
        data = memoryview(bytearray(request("nowhere").SerializeToString()))
        with pytest.raises(NotFound):
            await InferPath(table).answer(data, None)  # type: ignore[arg-type]  # nobody asks who calls
        return weakref.ref(data)

    gc.disable()
    try:
        kept = asyncio.run(refuse())()
    finally:
        gc.enable()

    assert kept is None


HOGS, HELD_BYTES, ALLOWED_BYTES = 8, 64 * MIB, 128 * MIB


@needs_extension
@pytest.mark.slow
def test_requests_that_do_not_end_hold_no_more_together_than_they_may(hostile_models):
    """Half a GB, on connections of their own; gRPC's count is behind by what is on its way just then."""
    settings = {"SERVER_TRANSPORT": "native", "SERVER_REQUEST_MEMORY_BYTES": str(ALLOWED_BYTES)}
    with DaemonProcess(hostile_models, settings=settings) as daemon:
        before = Footprint(daemon)
        with ExitStack() as connections:
            taken = sum(is_taken(daemon.address, connections) for _ in range(HOGS))

            assert taken <= HOGS // 2  # some of them were ended after that
            assert before.grown_bytes < ALLOWED_BYTES + HELD_BYTES
        wait_until(lambda: is_served(daemon), "nobody is served any more")
        assert daemon.complaints == []


def is_taken(address, connections):
    """Begin a message of 200 MiB and send a part; whether the server has it. The connection stays as it is."""
    try:
        peer = connections.enter_context(HostilePeer(address))
        stream = peer.open()
        sent = peer.send_message(stream, bytes(HELD_BYTES), declared=200 * MIB, end=False, patience_s=1)
    except ConnectionError:
        return False
    return sent >= HELD_BYTES
