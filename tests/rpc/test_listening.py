"""An appliance that can be called no more notices, and ends to be started again."""

import os
import resource
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from appliance.rpc.listening import PATIENCE_S, ListeningSockets
from tests.support.daemon import ROOT, DaemonProcess
from tests.support.refusing_kernel import write_python

LONG_S = 60.0


@pytest.fixture
def listener(request, tmp_path_factory):
    """A socket that listens, and its address as a transport says it."""
    path = tmp_path_factory.mktemp("s", numbered=True) / "s"
    kind, where, address = {
        "v4": (socket.AF_INET, ("127.0.0.1", 0), "127.0.0.1:{}"),
        "v6": (socket.AF_INET6, ("::1", 0), "[::1]:{}"),
        "any": (socket.AF_INET, ("0.0.0.0", 0), "0.0.0.0:{}"),
        "unix": (socket.AF_UNIX, str(path), f"unix:{path}"),
    }[request.param]
    with socket.socket(kind, socket.SOCK_STREAM) as listening:
        listening.bind(where)
        listening.listen()
        yield listening, address.format(listening.getsockname()[1])


everywhere = pytest.mark.parametrize("listener", ["v4", "v6", "any", "unix"], indirect=True)
over_tcp_and_unix = pytest.mark.parametrize("listener", ["v4", "unix"], indirect=True)


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def caller(listening):
    client = socket.socket(listening.family, socket.SOCK_STREAM)
    client.connect(listening.getsockname())
    return client


@everywhere
def test_who_accepts_is_not_deaf_and_who_has_closed_is(listener):
    listening, address = listener
    sockets = ListeningSockets([address])

    assert sockets.deaf() == []
    listening.close()
    assert sockets.deaf() == [address]


def test_a_name_with_a_socket_for_each_of_its_addresses_is_deaf_without_one_of_them():
    with socket.socket(socket.AF_INET) as four, socket.socket(socket.AF_INET6) as six:
        four.bind(("127.0.0.1", 0))
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        six.bind(("::1", four.getsockname()[1]))
        four.listen()
        six.listen()
        address = f"localhost:{four.getsockname()[1]}"
        sockets = ListeningSockets([address])

        six.close()
        assert sockets.deaf() == [address]


@pytest.mark.parametrize("listener", ["v4"], indirect=True)
def test_another_socket_with_the_same_descriptor_does_not_count(listener):
    listening, address = listener
    sockets = ListeningSockets([address])
    with socket.create_server(("127.0.0.1", 0)) as other:
        os.dup2(other.fileno(), listening.fileno())

        assert sockets.deaf() == [address]


@over_tcp_and_unix
def test_a_caller_who_is_not_accepted_for_long_shows_that_nobody_does(listener):
    listening, address = listener
    clock = Clock()
    sockets = ListeningSockets([address], clock)
    with caller(listening):
        assert sockets.deaf() == []
        clock.now_s = PATIENCE_S / 2
        assert sockets.deaf() == []
        clock.now_s = PATIENCE_S
        assert sockets.deaf() == [address]


@over_tcp_and_unix
def test_callers_who_come_faster_than_they_are_accepted_show_nothing(listener):
    listening, address = listener
    clock = Clock()
    sockets = ListeningSockets([address], clock)
    callers, accepted = [caller(listening) for _ in range(8)], []
    for _ in range(6):
        assert sockets.deaf() == []
        accepted.append(listening.accept()[0])
        clock.now_s += PATIENCE_S / 2
    for each in (*callers, *accepted):
        each.close()


@over_tcp_and_unix
def test_a_caller_who_is_accepted_at_last_is_forgotten(listener):
    listening, address = listener
    clock = Clock()
    sockets = ListeningSockets([address], clock)
    with caller(listening):
        assert sockets.deaf() == []
        with listening.accept()[0]:
            assert sockets.deaf() == []
    clock.now_s = PATIENCE_S
    with caller(listening):
        assert sockets.deaf() == []


@over_tcp_and_unix
def test_what_was_seen_before_a_long_pause_says_nothing(listener):
    """The process was stopped, say, and its callers queue."""
    listening, address = listener
    clock = Clock()
    sockets = ListeningSockets([address], clock)
    with caller(listening):
        assert sockets.deaf() == []
        clock.now_s = 100 * PATIENCE_S
        assert sockets.deaf() == []


@over_tcp_and_unix
def test_a_queue_that_is_empty_in_between_shows_that_somebody_takes_from_it(listener):
    """Whoever is accepted and sent away at once leaves nothing else to be seen."""
    listening, address = listener
    clock = Clock()
    sockets = ListeningSockets([address], clock)
    with caller(listening), ThreadPoolExecutor() as pool:
        for clock.now_s in (0, PATIENCE_S / 2):
            assert sockets.deaf() == []
        clock.now_s = PATIENCE_S
        asked = pool.submit(sockets.deaf)
        listening.accept()[0].close()
        assert asked.result() == []


def test_connections_to_another_address_with_the_same_port_do_not_count():
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        with socket.create_server(("127.0.0.2", port)) as hears, caller(deaf):
            sockets = ListeningSockets([f"127.0.0.1:{port}"], clock)
            found, kept = [], []
            for clock.now_s in (0, PATIENCE_S / 2, PATIENCE_S):
                found = sockets.deaf()
                kept += [caller(hears), hears.accept()[0]]
            for each in kept:
                each.close()

    assert found == [f"127.0.0.1:{port}"]


@pytest.mark.parametrize("listener", ["v4"], indirect=True)
def test_a_process_that_may_open_nothing_more_is_full_and_not_deaf(listener):
    listening, address = listener
    clock = Clock()
    sockets = ListeningSockets([address], clock)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with caller(listening):
        lowest = os.dup(listening.fileno())
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            found = sockets.deaf()
            clock.now_s = PATIENCE_S
            found += sockets.deaf()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert found == []


@pytest.mark.slow
@pytest.mark.parametrize("over_unix", [False, True])
def test_a_service_that_the_kernel_refuses_a_connection_ends_and_says_why(over_unix, tmp_path):
    """Without an end it would say READY, and answer nobody ever again."""
    with DaemonProcess(ROOT / "models", python=write_python(tmp_path / "python")) as daemon:
        host, _, port = daemon.address.rpartition(":")
        with socket.socket(socket.AF_UNIX if over_unix else socket.AF_INET) as client:
            client.connect(daemon.unix.removeprefix("unix:") if over_unix else (host, int(port)))
            status = daemon.wait(LONG_S)

        assert status == 1
        where = daemon.unix if over_unix else daemon.address
        assert f"nobody accepts connections to {where} any more" in daemon.log
        assert "next: systemd starts the appliance again" in daemon.log
        assert daemon.complaints == []
