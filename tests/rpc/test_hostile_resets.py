"""Calls that are taken back as soon as they are begun (CVE-2023-44487), on every transport."""

import pytest

from tests.rpc import hostile_peer as h2
from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.hostility import NOISE_BYTES, lost_bytes, small_request, still_works, undisturbed

RESETS = 50_000
ROUNDS = 3
CALL_BYTES = 24 * 1024  # what gRPC keeps of a call until its end has gone through, and what the allocator adds
WAVE = 200
WAVES = 25  # of a round that is measured
MEASURED_ROUNDS = 10
# More calls than are taken at once; grpcio cancels calls of other clients, too.
WHILE_FLOODED = {"native": ["RESOURCE_EXHAUSTED"], "grpcio": ["RESOURCE_EXHAUSTED", "CANCELLED"]}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("data", [b"", h2.message(small_request())], ids=["headers", "data"]),
]


def taken_back(peer, data, count):
    """Bytes that open so many calls and take each back."""
    calls = [peer.open_block() for _ in range(count)]
    body = {stream: h2.frame(h2.DATA, 0, stream, data) if data else b"" for stream, _ in calls}
    return b"".join(opening + body[stream] + h2.reset(stream) for stream, opening in calls)


def test_fifty_thousand_of_them_cost_no_more_than_all_at_once(attacked, data, transport):
    """Sent as fast as they are taken. A server that has had enough may close the connection; the next one goes on."""
    with undisturbed(attacked, RESETS * CALL_BYTES, tolerated=WHILE_FLOODED[transport]) as before:
        for _ in range(ROUNDS):
            flood(attacked, data)
            before.wait_until_idle()


def flood(daemon, data):
    left = RESETS
    while left:
        with HostilePeer(daemon.address) as peer:
            try:
                while left:
                    peer.send(taken_back(peer, data, 100))
                    left -= 100
            except ConnectionError:
                left -= min(left, 100)


def test_nothing_of_them_is_left(attacked, data):
    """In waves that the server can follow: it needs little at once, so 340 bytes kept of each would be seen."""
    grown_bytes = []
    with undisturbed(attacked) as before:
        for _ in range(MEASURED_ROUNDS):
            with HostilePeer(attacked.address) as peer:
                for _ in range(WAVES):
                    peer.send(taken_back(peer, data, WAVE))
                    assert still_works(peer)
            before.wait_until_idle()
            grown_bytes.append(before.grown_bytes)

    print([f"{size / 1e6:.1f}" for size in grown_bytes])  # noqa: T201
    assert lost_bytes(grown_bytes) < NOISE_BYTES
