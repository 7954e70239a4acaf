"""The sink-hole sees all that leaves the box, and nothing when nothing does: else its silence would prove nothing."""

import sys
from pathlib import Path

import pytest

from tests.egress.packet import Event, Kind
from tests.egress.sinkhole import IPV6
from tests.egress.sinkhole_namespace import BUILD_MACHINE_SIGNS, ROOT

pytestmark = [pytest.mark.root, pytest.mark.slow]
TCP_CLIENT = """
import socket, sys, time
deadline_s = time.monotonic() + 5
while True:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as server:
            server.sendall(b"hello from the box")
            server.recv(1)
        break
    except ConnectionRefusedError:  # the first knock opens an unusual port
        assert time.monotonic() < deadline_s
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_a_quiet_command_sends_writes_and_leaves_nothing(sinkhole):
    outcome = sinkhole(python("import numpy; print('quiet')"))

    assert (outcome.returncode, outcome.output) == (0, "quiet\n")
    assert (outcome.events, outcome.written, outcome.survivors) == ((), (), ())


def test_conversations_within_the_box_are_no_events(sinkhole):
    code = """
import socket
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
    server.accept()[0].sendall(b"local")
    print(client.recv(5).decode())
"""

    outcome = sinkhole(python(code))

    assert (outcome.output, outcome.events) == ("local\n", ())


def test_a_name_lookup_is_seen_and_answered(sinkhole):
    outcome = sinkhole(python("import socket; print(socket.gethostbyname('telemetry.example.com'))"))

    assert outcome.output == "203.0.113.10\n"
    assert [(event.kind, event.detail) for event in outcome.events] == [(Kind.DNS, "telemetry.example.com A")]


def test_a_lookup_at_a_server_of_the_programs_own_choice_is_seen_and_answered(sinkhole):
    code = """
import socket
query = b"\\x12\\x34\\x01\\0\\0\\x01\\0\\0\\0\\0\\0\\0\\x03own\\x07example\\0\\0\\x01\\0\\x01"
with socket.socket(type=socket.SOCK_DGRAM) as client:
    client.settimeout(5)
    client.connect(("8.8.8.8", 53))
    client.send(query)
    print(socket.inet_ntoa(client.recv(512)[-4:]))
"""

    outcome = sinkhole(python(code))

    assert outcome.output == "203.0.113.10\n"
    assert outcome.events == (Event(Kind.DNS, "8.8.8.8", 53, "own.example A"),)


def test_a_tls_connection_is_seen_with_the_name_it_asks_for(sinkhole):
    code = """
import socket, ssl
context = ssl.create_default_context()
with socket.create_connection(("203.0.113.77", 443), timeout=5) as plain:
    try:
        context.wrap_socket(plain, server_hostname="collector.example.com")
    except OSError as error:
        print(type(error).__name__)
"""

    outcome = sinkhole(python(code))

    assert Event(Kind.TCP_CONNECT, "203.0.113.77", 443) in outcome.events
    assert Event(Kind.TCP_DATA, "203.0.113.77", 443, "SNI collector.example.com") in outcome.events


def test_any_other_port_is_seen_and_answers_too(sinkhole):
    outcome = sinkhole(python(TCP_CLIENT, "198.51.100.9", "31337"))

    assert outcome.returncode == 0, outcome.output
    assert Event(Kind.TCP_CONNECT, "198.51.100.9", 31337) in outcome.events
    assert Event(Kind.TCP_DATA, "198.51.100.9", 31337, "hello from the box") in outcome.events


@pytest.mark.parametrize("address", ["198.51.100.9", "224.0.0.251", "192.0.2.1"])
def test_a_datagram_is_seen(sinkhole, address):
    send = f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'stats', ('{address}', 8125))"

    outcome = sinkhole(python(send))

    assert outcome.events == (Event(Kind.UDP, address, 8125, "stats"),)


@pytest.mark.skipif(not IPV6, reason="this kernel has no IPv6")
def test_ipv6_is_seen_and_answers_too(sinkhole):
    outcome = sinkhole(python(TCP_CLIENT, "2001:db8:9::9", "443"))

    assert outcome.returncode == 0, outcome.output
    assert Event(Kind.TCP_CONNECT, "2001:db8:9::9", 443) in outcome.events
    assert Event(Kind.TCP_DATA, "2001:db8:9::9", 443, "hello from the box") in outcome.events


def test_nothing_tells_the_box_that_it_is_being_tested(sinkhole, monkeypatch):
    for name in BUILD_MACHINE_SIGNS:
        monkeypatch.setenv(name, "1")

    outcome = sinkhole(["env"])

    names = {line.partition("=")[0] for line in outcome.output.splitlines()}
    assert names == {"PATH", "HOME", "LANG", "PYTHONDONTWRITEBYTECODE"}


def test_what_is_written_outside_the_directories_lent_is_found_and_does_not_last(sinkhole, tmp_path):
    device_id = Path.home() / ".cache" / "appliance-egress-test" / "device-id"
    code = f"""
import os, pathlib
path = pathlib.Path({str(device_id)!r})
path.parent.mkdir(parents=True)
path.write_text("1234")
pathlib.Path("/dev/shm/appliance-egress-test").touch()
pathlib.Path({str(ROOT / "README-egress-test")!r}).touch()
pathlib.Path("/etc/hosts").open("a").write("203.0.113.1 elsewhere")
pathlib.Path({str(tmp_path)!r}, "lent").touch()
"""

    outcome = sinkhole(python(code), writable=[tmp_path])

    expected = {str(device_id), "/dev/shm/appliance-egress-test", str(ROOT / "README-egress-test"), "/etc/hosts"}
    assert expected <= set(outcome.written), outcome.output
    assert not device_id.parent.exists()
    assert (tmp_path / "lent").exists()


AFTER_SLEEP_BEGAN = 'sleep 4711 & until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done'


def test_processes_left_behind_are_named_and_ended(sinkhole):
    outcome = sinkhole(["sh", "-c", AFTER_SLEEP_BEGAN], timeout_s=20)

    assert outcome.survivors == ("sleep 4711",)
    assert "sleep 4711" not in running_commands()


def test_a_command_that_hangs_is_ended(sinkhole):
    outcome = sinkhole(["sleep", "4712"], timeout_s=0.5)

    assert outcome.returncode is None
    assert "sleep 4712" not in running_commands()


def running_commands() -> set[str]:
    commands = set()
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.add(command.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip())
        except OSError:
            continue  # it ended meanwhile
    return commands
