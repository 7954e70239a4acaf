"""Frames that cost their sender next to nothing, by the hundred thousand, on every transport."""

from contextlib import suppress

import pytest

from tests.rpc import hostile_peer as h2
from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.hostility import GROWTH_BYTES, undisturbed

FLOOD = 100_000
MIB = 1024 * 1024
DEAF_BYTES = 64 * MIB
ANSWERED = {
    "ping": h2.frame(h2.PING, 0, 0, b"12345678"),
    "settings": h2.settings([(h2.INITIAL_WINDOW_SIZE, 70_000)]),
    "empty settings": h2.settings(),
}
NOT_ANSWERED = {
    "window": h2.window_update(0, 1),
    "empty data": h2.frame(h2.DATA, 0, 1, b""),
    "data": h2.frame(h2.DATA, 0, 1, b"a"),
    "reset": h2.reset(1),
    "unknown": h2.frame(99, 0, 0, b"unknown"),
}
FRAMES = ANSWERED | NOT_ANSWERED

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FRAMES)
def test_a_flood_from_a_peer_that_reads_the_answers_is_no_burden(attacked, name):
    with undisturbed(attacked) as before, HostilePeer(attacked.address) as peer:
        peer.open()
        with suppress(ConnectionError):  # the server may have had enough
            for _ in range(FLOOD // 1000):
                peer.send(FRAMES[name] * 1000)

        assert before.grown_bytes < GROWTH_BYTES


@pytest.mark.parametrize("name", FRAMES)
def test_a_flood_from_a_peer_that_reads_nothing_is_not_kept(attacked, name):
    """64 MiB. Answers that nobody takes (CVE-2019-9512, 9515) must stop it, else they queue up: 14 times pings.

    gRPC closes the connection, or reads no further after 10,000 answers that wait; what is taken then, up to 10 MiB,
    lies in the buffers of the kernel.
    """
    flood = FRAMES[name] * (MIB // len(FRAMES[name]))
    taken = 0
    with undisturbed(attacked) as before, HostilePeer(attacked.address) as peer:
        peer.pinged()
        peer.open()
        try:
            while taken < DEAF_BYTES and (went := peer.send_deaf(flood)):
                taken += went
            stopped = taken < DEAF_BYTES
        except ConnectionError:
            stopped = True

        assert before.grown_bytes < GROWTH_BYTES
        assert stopped or name in NOT_ANSWERED
