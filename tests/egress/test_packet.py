"""Packets are told apart; no privilege is needed to check that."""

import socket
import struct

import pytest

from tests.egress.packet import Event, Kind, describe, tls_server_name

QUERY = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0" + b"\x06events\x04data\x07example\x03com\0" + b"\0\x01\0\x01"


def ipv4(protocol: int, payload: bytes, destination: str = "203.0.113.5", fragment: int = 0) -> bytes:
    start = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, fragment, 64, protocol, 0)
    return start + socket.inet_aton("192.0.2.2") + socket.inet_aton(destination) + payload


def ipv6(next_header: int, payload: bytes) -> bytes:
    start = struct.pack(">IHBB", 6 << 28, len(payload), next_header, 64)
    return start + bytes(16) + socket.inet_pton(socket.AF_INET6, "2001:db8::53") + payload


def tcp(port: int, flags: int, data: bytes = b"") -> bytes:
    return struct.pack(">HHIIBBHHH", 40000, port, 1, 1, 5 << 4, flags, 1024, 0, 0) + data


def udp(port: int, data: bytes) -> bytes:
    return struct.pack(">HHHH", 40000, port, 8 + len(data), 0) + data


def client_hello(name: str) -> bytes:
    server_name = struct.pack(">HBH", len(name) + 3, 0, len(name)) + name.encode()
    padding = struct.pack(">HH", 21, 4) + bytes(4)
    extensions = padding + struct.pack(">HH", 0, len(server_name)) + server_name
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + struct.pack(">H", len(extensions))
    return b"\x16\x03\x01" + bytes(2) + b"\x01" + bytes(3) + body + extensions


@pytest.mark.parametrize(
    ("packet", "event"),
    [
        (ipv4(17, udp(53, QUERY)), Event(Kind.DNS, "203.0.113.5", 53, "events.data.example.com A")),
        (ipv4(17, udp(123, b"\x1b\0")), Event(Kind.UDP, "203.0.113.5", 123, "\\x1b\\x00")),
        (ipv4(6, tcp(443, 0x02)), Event(Kind.TCP_CONNECT, "203.0.113.5", 443)),
        (ipv4(6, tcp(443, 0xC2)), Event(Kind.TCP_CONNECT, "203.0.113.5", 443)),  # with ECN
        (
            ipv4(6, tcp(443, 0x18, client_hello("a.example"))),
            Event(Kind.TCP_DATA, "203.0.113.5", 443, "SNI a.example"),
        ),
        (ipv4(6, tcp(80, 0x18, b"GET /")), Event(Kind.TCP_DATA, "203.0.113.5", 80, "GET /")),
        (ipv4(6, tcp(53, 0x18, b"\0\x2a" + QUERY)), Event(Kind.DNS, "203.0.113.5", 53, "events.data.example.com A")),
        (ipv4(1, b"\x08\0"), Event(Kind.ICMP, "203.0.113.5", detail="type 8")),
        (ipv4(47, b"gre"), Event(Kind.OTHER, "203.0.113.5", detail="protocol 47 gre")),
        (ipv6(6, tcp(443, 0x02)), Event(Kind.TCP_CONNECT, "2001:db8::53", 443)),
        (ipv6(0, b"\x11\0" + bytes(6) + udp(9, b"x")), Event(Kind.UDP, "2001:db8::53", 9, "x")),
        (ipv6(58, b"\x80\0"), Event(Kind.ICMP, "2001:db8::53", detail="type 128")),
    ],
)
def test_what_leaves_the_box_is_named(packet, event):
    assert describe(packet) == event


@pytest.mark.parametrize(
    "packet",
    [
        ipv4(6, tcp(443, 0x10)),  # an acknowledgement
        ipv4(17, b"rest", fragment=185),
        ipv6(58, b"\x87\0"),  # neighbour solicitation
        ipv6(0, b"\x3a\0" + bytes(6) + b"\x8f\0"),  # multicast listener report
    ],
)
def test_what_only_follows_or_keeps_house_is_no_event(packet):
    assert describe(packet) is None


def test_a_malformed_packet_is_an_event():
    event = describe(ipv4(17, b"\0"))

    assert event is not None
    assert event.kind is Kind.OTHER


def test_a_client_hello_cut_short_has_no_server_name():
    assert tls_server_name(client_hello("a.example")[:60]) is None
