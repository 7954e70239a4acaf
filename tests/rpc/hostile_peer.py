"""A client of HTTP/2 and gRPC on a bare socket, which may send whatever it likes. Standard library only.

It keeps count of flow control so that a case can be well-behaved up to the point where it is not.
"""

import re
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable
from typing import Self

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM = ACK = 1
END_HEADERS = 4
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_HEADER_LIST_SIZE = 1, 4, 6
LARGEST_WINDOW = 2**31 - 1
FIRST_WINDOW = 65535
LARGEST_FRAME = 16384
NO_ERROR, CANCEL = 0, 8
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
RESOURCE_EXHAUSTED = 8
TIMEOUT_S = 20.0

_STATUS = re.compile(rb"grpc-status.(\d+)", re.DOTALL)
Header = tuple[bytes, bytes]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values: Iterable[tuple[int, int]] = ()) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", name, value) for name, value in values))


def reset(stream: int, code: int = CANCEL) -> bytes:
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def window_update(stream: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", more))


def message(body: bytes, declared: int | None = None, flag: int = 0) -> bytes:
    """A message of gRPC. declared: the length that it claims."""
    return struct.pack(">BI", flag, len(body) if declared is None else declared) + body


def header_block(fields: Iterable[Header]) -> bytes:
    """Literal fields that no table remembers, without Huffman's code."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def call_fields(path: str, extra: Iterable[Header] = ()) -> list[Header]:
    """The headers of a call."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"hostile"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *extra,
    ]


def _text(data: bytes) -> bytes:
    if len(data) < 127:
        return bytes([len(data)]) + data
    size, rest = bytearray([127]), len(data) - 127
    while rest >= 128:
        size.append(rest % 128 + 128)
        rest //= 128
    return bytes([*size, rest]) + data


class HostilePeer:
    """One connection. What the server says is noted by number of the stream."""

    def __init__(
        self,
        address: str,
        *,
        said: Iterable[tuple[int, int]] = (),
        grants: bool = True,
        preface: bool = True,
        answers_pings: bool = True,
    ) -> None:
        """said: settings of its own. grants: whether it lets the server send on after what it has received."""
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.ended = False
        self.goaway: int | None = None
        self.status: dict[int, int] = {}
        self.reset: dict[int, int] = {}
        self.received: Counter[int] = Counter()
        self.frames: Counter[int] = Counter()
        self._grants = grants
        self._answers_pings = answers_pings
        self._next_stream = 1
        self._buffer = bytearray()
        self._owed = bytearray()  # answers of its own, sent between two frames
        self._window = FIRST_WINDOW
        self._windows: dict[int, int] = {}
        self._initial = FIRST_WINDOW
        if preface:  # without a table the server's headers are literal, too
            try:
                self.send(PREFACE + settings([(HEADER_TABLE_SIZE, 0), *said]))
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def open_block(self, path: str = INFER, extra: Iterable[Header] = (), *, end: bool = False) -> tuple[int, bytes]:
        """Number a new stream; return it and the frame that opens it."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._windows[stream] = self._initial
        block = header_block(call_fields(path, extra))
        return stream, frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block)

    def open(self, path: str = INFER, extra: Iterable[Header] = ()) -> int:
        """Begin a call."""
        stream, opening = self.open_block(path, extra)
        self.send(opening)
        return stream

    def send(self, data: bytes) -> None:
        """Send bytes as they are, reading meanwhile. Raises ConnectionError when the server has closed."""
        view = memoryview(data)
        while view or self._owed:
            if not view:  # never in the middle of a frame
                view, self._owed = memoryview(bytes(self._owed)), bytearray()
            ready = self._ready(select.POLLIN | select.POLLOUT, TIMEOUT_S)
            assert ready, "the server has stopped reading"
            if ready & ~select.POLLOUT:
                self._take()
            if ready & select.POLLOUT:
                view = view[self._write(view) :]

    def send_deaf(self, data: bytes, patience_s: float = 1.0) -> int:
        """Send bytes and read nothing; return how many the server took before it stopped. Raises ConnectionError."""
        view = memoryview(data)
        while view and self._ready(select.POLLOUT, patience_s):
            view = view[self._write(view) :]
        return len(data) - len(view)

    def send_message(
        self,
        stream: int,
        body: bytes,
        *,
        declared: int | None = None,
        end: bool = True,
        patience_s: float = TIMEOUT_S,
    ) -> int:
        """Send a message as far as the server lets it; return how many bytes went out."""
        view, sent = memoryview(message(body, declared)), 0
        while sent < len(view):
            room = min(self._window, self._windows[stream], LARGEST_FRAME, len(view) - sent)
            if room <= 0:
                if stream in self.status or stream in self.reset or not self.pump(patience_s):
                    return sent
                continue
            last = end and sent + room == len(view)
            self.send(frame(DATA, END_STREAM if last else 0, stream, bytes(view[sent : sent + room])))
            self._window -= room
            self._windows[stream] -= room
            sent += room
        return sent

    def pump(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Read what there is; False if nothing came. Raises ConnectionError when the server has closed."""
        if not self._ready(select.POLLIN, timeout_s):
            return False
        self._take()
        self.send(b"")
        return True

    def outcome(self, stream: int) -> int | None:
        """Read until the call has ended; return its status, None if it was reset without one."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while stream not in self.status and stream not in self.reset:
            assert self.pump(deadline_s - time.monotonic()), f"the call {stream} has no outcome"
        return self.status.get(stream)

    def pinged(self) -> None:
        """Read until the server has dealt with everything that was sent so far."""
        before = self.frames[PING]
        self.send(frame(PING, 0, 0, b"hostile!"))
        while self.frames[PING] == before:
            assert self.pump(), "the server does not answer a ping"

    def ended_within(self, timeout_s: float = TIMEOUT_S) -> bool:
        """Read until the server closes the connection; whether it did."""
        deadline_s = time.monotonic() + timeout_s
        try:
            while self.pump(max(0.0, deadline_s - time.monotonic())):
                pass
        except ConnectionError:
            return True
        return False

    def _ready(self, events: int, timeout_s: float) -> int:
        """For which of these the socket is ready; more if it is broken."""
        poll = select.poll()  # select() knows no files beyond 1,024
        poll.register(self.socket, events)
        found = poll.poll(max(0.0, timeout_s) * 1000)
        return found[0][1] if found else 0

    def _write(self, view: memoryview) -> int:
        try:
            return self.socket.send(view[: 256 * 1024])
        except BlockingIOError:
            return 0

    def _take(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            self.ended = True
            raise ConnectionResetError("the server has closed the connection")
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= 9:
            size = int.from_bytes(self._buffer[at : at + 3], "big")
            if len(self._buffer) - at < 9 + size:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._buffer, at + 3)
            self._heard(kind, flags, stream & LARGEST_WINDOW, bytes(self._buffer[at + 9 : at + 9 + size]))
            at += 9 + size
        del self._buffer[:at]

    def _heard(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.frames[kind] += 1
        match kind:
            case 4 if not flags & ACK:
                self._heard_settings(payload)
                self._owed += frame(SETTINGS, ACK, 0)
            case 8 if stream:
                self._windows[stream] = self._windows.get(stream, self._initial) + int.from_bytes(payload, "big")
            case 8:
                self._window += int.from_bytes(payload, "big")
            case 6 if not flags & ACK and self._answers_pings:
                self._owed += frame(PING, ACK, 0, payload)
            case 1 if found := _STATUS.search(payload):
                self.status[stream] = int(found[1])
            case 3:
                self.reset[stream] = int.from_bytes(payload, "big")
            case 7:
                self.goaway = int.from_bytes(payload[4:8], "big")
            case 0:
                self.received[stream] += len(payload)
                if self._grants and payload:
                    self._owed += window_update(0, len(payload)) + window_update(stream, len(payload))

    def _heard_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._initial
                self._initial = value
