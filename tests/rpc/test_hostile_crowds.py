"""Thousands of clients that are connected and do nothing, for a while."""

import os
import socket
from contextlib import ExitStack, contextmanager

import psutil
import pytest

from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.hostility import GROWTH_BYTES, still_works, undisturbed, wait_until

CONNECTIONS = 5_000
OTHER_FILES = 500  # that we and the daemon may have open beside them
CALLING = 1_000  # of those that have said that they speak HTTP/2
CONNECTION_BYTES = 64 * 1024


@contextmanager
def enough_files(*processes):
    """Let each have as many as are needed; where nobody lets us, the test is left out."""
    needed = CONNECTIONS + OTHER_FILES
    before = [process.rlimit(psutil.RLIMIT_NOFILE) for process in processes]
    try:
        for process, (_, hard) in zip(processes, before, strict=True):
            process.rlimit(psutil.RLIMIT_NOFILE, (needed, max(needed, hard)))
    except psutil.AccessDenied:
        if "APPLIANCE_REQUIRE_ROOT_TESTS" in os.environ:
            raise
        pytest.skip(f"needs {needed} open files: ulimit -Hn {needed}")
    try:
        yield
    finally:
        for process, limits in zip(processes, before, strict=True):
            process.rlimit(psutil.RLIMIT_NOFILE, limits)


@pytest.mark.slow
def test_five_thousand_idle_connections(attacked):
    """Half say nothing, half that they speak HTTP/2. Many of these call after all; then all are closed at once."""
    host, port = attacked.address.split(":")
    with enough_files(psutil.Process(attacked.popen.pid), psutil.Process()):
        for bound in (CONNECTIONS * CONNECTION_BYTES, GROWTH_BYTES):
            with undisturbed(attacked, bound) as before, ExitStack() as all_of_them:
                for _ in range(CONNECTIONS // 2):
                    all_of_them.enter_context(socket.create_connection((host, int(port))))
                speaking = [all_of_them.enter_context(HostilePeer(attacked.address)) for _ in range(CONNECTIONS // 2)]
                wait_until(lambda: before.files_now >= before.files + CONNECTIONS, "not all are accepted")
                answered = sum(still_works(peer) for peer in speaking[:CALLING])

            assert answered == CALLING
