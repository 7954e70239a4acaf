"""Requests that cost their sender little and would cost the daemon much, on the transport under test."""

from contextlib import ExitStack

import psutil
import pytest

from appliance.rpc.raw_message import MOST_FIELDS, MOST_INNER_FIELDS
from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.hostility import Footprint, is_served, undisturbed, wait_until
from tests.rpc.input_errors import INVALID
from tests.rpc.native_tests import needs_extension
from tests.rpc.wire import refusal
from tests.support.daemon import DaemonProcess

EMPTY_RAW, EMPTY_INPUT, UNKNOWN_NUMBER = b"\x3a\0", b"\x2a\0", b"\xf8\1\0"
EMPTY_PARAMETER = b"\x22\0"  # of an input
LONG_LENGTH = b"\x1a\x80\x80\x80\x80\x80\0"  # an empty id
LONGER_LENGTH = b"\x1a" + b"\x80" * 9 + b"\x02"  # protobuf drops what is above 64 bits: empty, too
MIB = 1024 * 1024
SIZE = b"\x80\x80\x80\x08"  # 16 MiB
CPU_S = 2.0  # of the daemon, its other client among it; walking over all of it would take four times as long


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "most"),
    [
        (EMPTY_RAW * (8 * MIB), MOST_FIELDS),
        (UNKNOWN_NUMBER + EMPTY_INPUT * (8 * MIB), MOST_FIELDS),
        (LONG_LENGTH + EMPTY_INPUT * (8 * MIB), MOST_FIELDS),
        (LONGER_LENGTH + EMPTY_INPUT * (8 * MIB), MOST_FIELDS),
        (EMPTY_INPUT[:1] + SIZE + EMPTY_PARAMETER * (8 * MIB), MOST_INNER_FIELDS),
        (UNKNOWN_NUMBER + EMPTY_INPUT[:1] + SIZE + EMPTY_PARAMETER * (8 * MIB), MOST_INNER_FIELDS),
    ],
    ids=[
        "usual fields",
        "after an unusual one",
        "after a length of six bytes",
        "after one of more than 64 bits",
        "parameters of an input",
        "parameters of an input after an unusual field",
    ],
)
def test_millions_of_empty_fields_are_refused_before_they_are_looked_at(attacked, data, most):
    """16 MiB: as objects they would be a GB."""
    with undisturbed(attacked), attacked.channel() as channel:
        before_s = daemon_cpu_s(attacked)
        code, details = refusal(channel, "ModelInfer", data)
        took_s = daemon_cpu_s(attacked) - before_s

    assert (code, f"more than {most} fields" in details) == (INVALID, True)
    assert took_s < CPU_S


def daemon_cpu_s(daemon):
    spent = psutil.Process(daemon.popen.pid).cpu_times()
    return spent.user + spent.system


HOGS, HELD_BYTES, LARGEST_BYTES, ALLOWED_BYTES = 8, 64 * MIB, 100 * MIB, 128 * MIB


@needs_extension
@pytest.mark.slow
def test_requests_that_do_not_end_hold_no_more_together_than_they_may(hostile_models):
    """Half a GB, on connections of their own; gRPC's count is behind by what is on its way just then."""
    settings = {
        "SERVER_TRANSPORT": "native",
        "SERVER_REQUEST_MEMORY_BYTES": str(ALLOWED_BYTES),
        "SERVER_MAX_MESSAGE_BYTES": str(LARGEST_BYTES),
    }
    with DaemonProcess(hostile_models, settings=settings) as daemon:
        before = Footprint(daemon)
        with ExitStack() as connections:
            hogs = [begun for _ in range(HOGS) if (begun := begin(daemon.address, connections)) is not None]

            assert sum(is_held(*hog) for hog in hogs) <= ALLOWED_BYTES // HELD_BYTES
            assert before.grown_bytes < ALLOWED_BYTES + HELD_BYTES
        wait_until(lambda: is_served(daemon), "nobody is served any more")
        assert daemon.complaints == []


def begin(address, connections):
    """Begin a message as large as may be and send a part; None if the server has ended the connection by then."""
    try:
        peer = connections.enter_context(HostilePeer(address))
        stream = peer.open()
        peer.send_message(stream, bytes(HELD_BYTES), declared=LARGEST_BYTES, end=False, patience_s=1)
    except ConnectionError:
        return None
    return peer, stream


def is_held(peer, stream):
    """Whether the server still waits for the rest."""
    try:
        peer.pinged()
    except ConnectionError:
        return False
    return stream not in peer.reset and stream not in peer.status
