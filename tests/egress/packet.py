"""What one IP packet that leaves the box means, as an event. Pure: bytes in, a value out.

Two kinds of packet are no event: the kernel's own IPv6 housekeeping (neighbour discovery, multicast listener
reports), which an idle machine sends too, and TCP segments that only keep up a connection whose SYN was seen.
"""

import ipaddress
import struct
from dataclasses import dataclass
from enum import StrEnum

ICMPV6 = 58
EXTENSION_HEADERS = {0, 43, 44, 60}  # hop-by-hop, routing, fragment, destination options
FRAGMENT = 44
HOUSEKEEPING = {*range(130, 138), 143}  # ICMPv6: multicast listeners, routers, neighbours
SYN, ACK = 0x02, 0x10
DNS_PORT = 53
TLS_HANDSHAKE = 0x16
SHOWN_BYTES = 80


class Kind(StrEnum):
    """What left the box."""

    DNS = "dns"
    TCP_CONNECT = "tcp-connect"
    TCP_DATA = "tcp-data"
    UDP = "udp"
    ICMP = "icmp"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that left the box. `detail`: the name asked for, the TLS server name, or the first bytes."""

    kind: Kind
    destination: str
    port: int | None = None
    detail: str = ""


def describe(packet: bytes) -> Event | None:
    """Say what a packet, from its IP header on, is; None if it is no event. A malformed one is an event too."""
    try:
        if packet[0] >> 4 == 6:
            return _describe_v6(packet)
        return _describe_v4(packet)
    except (IndexError, struct.error, ValueError):
        return Event(Kind.OTHER, "?", detail=f"malformed {_shown(packet)}")


def dns_name(message: bytes) -> str:
    """Return the first name a DNS query asks for, with its type: `example.com A`. Raises IndexError, struct.error."""
    labels = []
    at = 12
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "backslashreplace"))
        at += 1 + length
    (record_type,) = struct.unpack_from(">H", message, at + 1)
    return f"{'.'.join(labels)} {({1: 'A', 28: 'AAAA'}).get(record_type, record_type)}"


def tls_server_name(hello: bytes) -> str | None:
    """Return the server name in a TLS ClientHello; None if there is none, or it lies beyond these bytes."""
    try:
        at = 43  # record header, handshake header, version, random
        at += 1 + hello[at]  # session id
        at += 2 + struct.unpack_from(">H", hello, at)[0]  # cipher suites
        at += 1 + hello[at]  # compression methods
        at += 2  # length of the extensions
        while True:
            extension, length = struct.unpack_from(">HH", hello, at)
            if extension == 0:
                return hello[at + 9 : at + 4 + length].decode("ascii", "backslashreplace")
            at += 4 + length
    except (IndexError, struct.error):
        return None


def _describe_v4(packet: bytes) -> Event | None:
    header_bytes = (packet[0] & 0x0F) * 4
    (total_bytes,) = struct.unpack_from(">H", packet, 2)
    (fragment,) = struct.unpack_from(">H", packet, 6)
    if fragment & 0x1FFF:
        return None  # the first fragment was seen
    payload = packet[header_bytes : total_bytes or None]  # 0: larger than the field, segmented by the device
    return _describe_payload(packet[9], str(ipaddress.IPv4Address(packet[16:20])), payload)


def _describe_v6(packet: bytes) -> Event | None:
    destination = str(ipaddress.IPv6Address(packet[24:40]))
    protocol, at = packet[6], 40
    while protocol in EXTENSION_HEADERS:
        if protocol == FRAGMENT and struct.unpack_from(">H", packet, at + 2)[0] & 0xFFF8:
            return None  # the first fragment was seen
        size_bytes = 8 if protocol == FRAGMENT else 8 * (1 + packet[at + 1])
        protocol, at = packet[at], at + size_bytes
    if protocol == ICMPV6 and packet[at] in HOUSEKEEPING:
        return None
    return _describe_payload(protocol, destination, packet[at:])


def _describe_payload(protocol: int, destination: str, payload: bytes) -> Event | None:
    match protocol:
        case 6:
            return _describe_tcp(destination, payload)
        case 17:
            (port,) = struct.unpack_from(">H", payload, 2)
            if port == DNS_PORT:
                return Event(Kind.DNS, destination, port, dns_name(payload[8:]))
            return Event(Kind.UDP, destination, port, _shown(payload[8:]))
        case 1 | 58:
            return Event(Kind.ICMP, destination, detail=f"type {payload[0]}")
        case _:
            return Event(Kind.OTHER, destination, detail=f"protocol {protocol} {_shown(payload)}")


def _describe_tcp(destination: str, segment: bytes) -> Event | None:
    (port,) = struct.unpack_from(">H", segment, 2)
    if segment[13] & (SYN | ACK) == SYN:
        return Event(Kind.TCP_CONNECT, destination, port)
    data = segment[(segment[12] >> 4) * 4 :]
    if not data:
        return None
    if port == DNS_PORT:
        return Event(Kind.DNS, destination, port, dns_name(data[2:]))
    if data[0] == TLS_HANDSHAKE:
        return Event(Kind.TCP_DATA, destination, port, f"SNI {tls_server_name(data)}")
    return Event(Kind.TCP_DATA, destination, port, _shown(data))


def _shown(data: bytes) -> str:
    return data[:SHOWN_BYTES].decode("latin-1").encode("unicode_escape").decode("ascii")
