"""The whole internet, as the box in the next namespace sees it: every address is here, everything is written down.

Run as `python -m tests.egress.sinkhole LOG` in a network namespace of its own, as the child of `enter_sinkhole`:

  prints "started"     it is in its namespace; the parent gives it the link `w0` and writes a line to its stdin
  prints "ready"       addresses are up, every packet from now on is an event in LOG (one JSON object a line)
  stdin is closed      it writes down what is still on the way, and ends

Every DNS name exists. Every TCP port answers: the usual ones at once, any other from its second SYN on (the first one
opens it). The log is written by the packet sniffer alone, so nothing depends on a server that answers.
"""

import dataclasses
import json
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tests.egress.packet import DNS_PORT, Event, Kind, describe

WORLD_V4, BOX_V4 = "192.0.2.1", "192.0.2.2"
WORLD_V6, BOX_V6 = "2001:db8::1", "2001:db8::2"
EVERY_NAME_V4, EVERY_NAME_V6 = "203.0.113.10", "2001:db8:203::10"
IPV6 = Path("/proc/sys/net/ipv6").exists()
NETWORK = f"""\
link set lo up
link set w0 up
addr add {WORLD_V4}/30 dev w0
route add local 0.0.0.0/0 dev lo table main
"""
NETWORK_V6 = f"""\
addr add {WORLD_V6}/126 dev w0 nodad
route add local ::/0 dev lo table main
"""
USUAL_PORTS = (DNS_PORT, 22, 80, 443, 853, 4317, 4318, 8080, 8443)
ETH_P_ALL = 0x0003
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
IP_PKTINFO = 8  # the socket module has it from Python 3.14 on
ANCILLARY_BYTES = 128
QUIET_S = 0.2
LONGEST_DRAIN_S = 2.0
PATIENCE_S = 5.0


class Sinkhole:
    """Answers and writes down. One thread; every socket belongs to `selector`."""

    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[int, socket.socket] = {}
        self._last_event_s = time.monotonic()
        self._serving = True
        self._watch(_packet_socket("w0"), self._sniff)
        self._watch(_dns_socket(), self._answer_dns)
        for port in USUAL_PORTS:
            self._listen(port)

    def run(self, stop: IO[str]) -> None:
        """Serve until `stop` reads as closed, then until nothing more comes."""
        self._selector.register(stop, selectors.EVENT_READ, self._stop)
        while self._serving:
            self._serve_once(None)
        deadline_s = time.monotonic() + LONGEST_DRAIN_S
        self._last_event_s = time.monotonic()
        while time.monotonic() < min(deadline_s, self._last_event_s + QUIET_S):
            self._serve_once(QUIET_S)

    def _serve_once(self, timeout_s: float | None) -> None:
        for key, _ in self._selector.select(timeout_s):
            serve: Callable[[object], None] = key.data
            serve(key.fileobj)

    def _watch(self, opened: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self._selector.register(opened, selectors.EVENT_READ, serve)

    def _stop(self, stop: IO[str]) -> None:
        self._selector.unregister(stop)
        self._serving = False

    def _sniff(self, sniffer: socket.socket) -> None:
        packet, (_, protocol, direction, *_) = sniffer.recvfrom(0x1FFFF)
        if direction == socket.PACKET_OUTGOING or protocol not in {ETH_P_IP, ETH_P_IPV6}:
            return
        if event := describe(packet):
            self._write(event)
            if event.kind is Kind.TCP_CONNECT and event.port:
                self._listen(event.port)

    def _write(self, event: Event) -> None:
        self._log.write(json.dumps(dataclasses.asdict(event)) + "\n")
        self._log.flush()
        self._last_event_s = time.monotonic()

    def _listen(self, port: int) -> None:
        if port in self._listeners:
            return
        family = socket.AF_INET6 if IPV6 else socket.AF_INET
        listener = socket.create_server(("", port), family=family, dualstack_ipv6=IPV6)
        self._listeners[port] = listener
        self._watch(listener, self._accept)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(PATIENCE_S)
        self._watch(connection, self._hang_up)

    def _hang_up(self, connection: socket.socket) -> None:
        """Take the first bytes (the sniffer has logged them), answer if it was DNS, and close."""
        self._selector.unregister(connection)
        with connection:
            try:
                data = connection.recv(65536)
                if connection.getsockname()[1] == DNS_PORT and (answer := dns_answer(data[2:])):
                    connection.sendall(struct.pack(">H", len(answer)) + answer)
            except OSError:
                return  # the client left first

    def _answer_dns(self, server: socket.socket) -> None:
        # The ancillary data names the address that was asked; a client of 8.8.8.8 takes answers from there alone.
        query, asked, _, client = server.recvmsg(4096, ANCILLARY_BYTES)
        if answer := dns_answer(query):
            try:
                server.sendmsg([answer], asked, 0, client)
            except OSError as error:
                sys.stderr.write(f"DNS answer to {client} was not sent: {error}\n")


def dns_answer(query: bytes) -> bytes | None:
    """Answer an A or AAAA query with the address that every name has here, any other with no record."""
    try:
        end = 12
        while query[end]:
            end += 1 + query[end]
        (record_type,) = struct.unpack_from(">H", query, end + 1)
    except (IndexError, struct.error):
        return None
    address = b""
    if record_type == 1:
        address = socket.inet_pton(socket.AF_INET, EVERY_NAME_V4)
    elif record_type == 28 and IPV6:
        address = socket.inet_pton(socket.AF_INET6, EVERY_NAME_V6)
    record = struct.pack(">HHHIH", 0xC00C, record_type, 1, 5, len(address)) + address if address else b""
    header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, int(bool(address)), 0, 0)
    return header + query[12 : end + 5] + record


def _packet_socket(interface: str) -> socket.socket:
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024)
    sniffer.bind((interface, ETH_P_ALL))
    return sniffer


def _dns_socket() -> socket.socket:
    server = socket.socket(socket.AF_INET6 if IPV6 else socket.AF_INET, socket.SOCK_DGRAM)
    if IPV6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.bind(("", DNS_PORT))
    return server


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def main() -> None:
    """Follow the protocol in the module's docstring."""
    _say("started")
    sys.stdin.readline()
    network = NETWORK + (NETWORK_V6 if IPV6 else "")
    subprocess.run(["ip", "-batch", "-"], input=network, text=True, check=True, timeout=PATIENCE_S)
    with Path(sys.argv[1]).open("w", encoding="utf-8") as log:
        sinkhole = Sinkhole(log)
        _say("ready")
        sinkhole.run(sys.stdin)


if __name__ == "__main__":
    main()
