"""Clients that are gone without a word, or never begin to speak, on every transport.

To a server a client whose network is gone is one that sends nothing any more, answers to pings among it.
"""

import socket
import ssl
import time
from contextlib import ExitStack

import pytest

from appliance.rpc.channel_arguments import HANDSHAKE_TIMEOUT_S
from tests.rpc import hostile_peer as h2
from tests.rpc.authority import Authority
from tests.rpc.hostile_peer import HostilePeer
from tests.rpc.hostility import still_works
from tests.support.daemon import DaemonProcess

KEEPALIVE = {"SERVER_KEEPALIVE_TIME_S": "1", "SERVER_KEEPALIVE_TIMEOUT_S": "1"}
MARGIN_S = 10.0

pytestmark = pytest.mark.slow


def test_a_peer_that_answers_no_ping_is_closed_whether_or_not_it_calls(hostile_models, transport):
    """Within a second of each, while one that answers goes on. gRPC by itself would wait a minute."""
    with (
        DaemonProcess(hostile_models, settings={"SERVER_TRANSPORT": transport} | KEEPALIVE) as daemon,
        HostilePeer(daemon.address) as alive,
        HostilePeer(daemon.address, answers_pings=False) as idle,
        HostilePeer(daemon.address, answers_pings=False) as calling,
    ):
        calling.open(h2.STREAM_INFER)
        begun_s = time.monotonic()
        left = {idle, calling}
        while left and time.monotonic() < begun_s + MARGIN_S:
            left = {peer for peer in left if not peer.ended_within(0.05)}
            alive.pump(0)

        assert not left
        assert alive.frames[h2.PING] > 0
        assert still_works(alive)
        assert daemon.complaints == []


def client_hello():
    """How a client begins TLS."""
    context, sent = ssl.create_default_context(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


def is_closed(connection, deadline_s):
    """Read until the server closes, or it is too late."""
    try:
        connection.settimeout(max(0.01, deadline_s - time.monotonic()))
        while connection.recv(65536):
            connection.settimeout(max(0.01, deadline_s - time.monotonic()))
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def test_a_connection_that_stops_before_it_speaks_http2_is_closed(hostile_models, transport, tmp_path):
    """Without TLS, and before, in and after the first step of its handshake."""
    certificate, key = Authority(tmp_path, "site").issue("box", "localhost")
    tls = {"SERVER_TLS_CERTIFICATE": str(certificate), "SERVER_TLS_KEY": str(key)}
    settings = {"SERVER_TRANSPORT": transport}
    hello = client_hello()
    with (
        DaemonProcess(hostile_models, settings=settings) as plain,
        DaemonProcess(hostile_models, settings=settings | tls) as secure,
        ExitStack() as connections,
    ):
        silent = {}
        begun_s = time.monotonic()
        for daemon, sent in [(plain, data) for data in (b"", h2.PREFACE[:10], h2.PREFACE)] + [
            (secure, data) for data in (b"", hello[:50], hello)
        ]:
            host, port = daemon.address.split(":")
            connection = connections.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(sent)
            silent[connection] = (daemon is secure, sent)
        deadline_s = begun_s + HANDSHAKE_TIMEOUT_S + MARGIN_S
        still_open = [what for connection, what in silent.items() if not is_closed(connection, deadline_s)]

        assert still_open == []
