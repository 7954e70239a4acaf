"""The native transport with several I/O threads, of which a machine with two processors has one by itself."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.rpc import hostile_peer as h2
from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.hostility import expanding_request, large_request, small_request, still_works, undisturbed, warm_up
from tests.rpc.native_tests import needs_extension
from tests.support.daemon import ROOT, DaemonProcess

THREADS = 3
CLIENTS = 4
REQUESTS = 2_000  # of each client
EVERY = 50  # requests, one is cancelled
ABANDONED = 100  # connections, with calls that are under way
RESETS = 200  # of each of them


@pytest.fixture
def daemon(hostile_models):
    settings = {"SERVER_TRANSPORT": "native", "SERVER_IO_THREADS": str(THREADS)}
    with DaemonProcess(hostile_models, settings=settings) as process:
        warm_up(process)
        yield process
        process.terminate()
        status = process.wait()

    assert status == 0


def busy_threads(daemon):
    """CPU ticks that each I/O thread has used."""
    threads = [path.parent for path in Path(f"/proc/{daemon.popen.pid}/task").glob("*/comm")]
    found = [thread for thread in threads if (thread / "comm").read_text() == "grpc-io\n"]
    return [sum(map(int, (thread / "stat").read_text().split()[13:15])) for thread in found]


def abandon(daemon):
    """Calls of every kind, begun, taken back and left behind."""
    for _ in range(ABANDONED):
        with HostilePeer(daemon.address) as peer:
            for data in (small_request(), expanding_request(), large_request()[:100]):
                peer.send_message(peer.open(), data)
                peer.send_message(peer.open(h2.STREAM_INFER), data, end=False)
            for _ in range(RESETS):
                stream, opening = peer.open_block()
                peer.send(opening + h2.frame(h2.DATA, 0, stream, h2.message(small_request())) + h2.reset(stream))
            assert still_works(peer)


@needs_extension
@pytest.mark.slow
def test_several_io_threads_answer_right_whatever_other_clients_do(daemon):
    command = [sys.executable, "-m", "tests.rpc.varied_load", daemon.address, str(REQUESTS), str(EVERY)]
    with undisturbed(daemon):
        clients = [subprocess.Popen(command, cwd=ROOT) for _ in range(CLIENTS)]
        abandon(daemon)
        ended = [client.wait() for client in clients]
    used = busy_threads(daemon)

    assert ended == [0] * CLIENTS
    assert len(used) == THREADS
    assert all(used)
