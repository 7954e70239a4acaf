"""Cases of the native transport's extension in a process without grpcio: `python -m tests.rpc.native_cases NAME`."""

import asyncio
import logging
import select
import socket
import struct
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from statistics import median
from types import SimpleNamespace
from typing import Any

import appliance_native as native
import numpy as np

from appliance.rpc.native_io import NativeIo
from appliance.settings import ServerSettings
from tests.rpc.hostile_peer import HostilePeer, message

METHOD = "/hostile/Answer"
MEMORY_BYTES = 1 << 30
CALLS, ROUNDS = 8, 20
LONG_S = 0.001  # a bunch keeps nothing back for so long
DATA_SEGMENTS_IN = 152  # where struct tcp_info has it


@contextmanager
def served() -> Iterator[tuple[native.Io, native.Server, str]]:
    """One method on a port."""
    io = native.Io(threads=1)
    server = native.Server(io, [], max_calls=10, memory_bytes=MEMORY_BYTES)
    server.add_method(METHOD, 0, reads_itself=False)
    port = server.bind("127.0.0.1:0")
    server.start()
    yield io, server, f"127.0.0.1:{port}"
    io.close()


def is_readable(io: native.Io, timeout_s: float = 0) -> bool:
    return bool(select.select([io.fileno()], [], [], timeout_s)[0])


def next_events(io: native.Io) -> list[tuple[int, Any, Any]]:
    """Take until there is something."""
    while not (events := io.take()):
        assert is_readable(io, 20)
    return events


def stop(io: native.Io, server: native.Server) -> None:
    server.stop()
    server.cancel_calls()
    while not any(kind == native.STOPPED for kind, *_ in next_events(io)):
        pass


def sent_buffers() -> None:
    """What gRPC lets go of after the last events is given back."""
    with served() as (io, server, address):
        with HostilePeer(address) as peer:
            peer.send_message(peer.open(METHOD), message(b""))
            ((_, call, _),) = next_events(io)
            answer = np.zeros(1_000_000, np.float32)
            given_back = weakref.ref(answer)
            call.reply([answer])
            del answer
        stop(io, server)
        del call
    assert given_back() is None


def wake_ups() -> None:
    """The descriptor is readable from the first event until it was said that there is nothing."""
    with served() as (io, server, address):
        with HostilePeer(address) as peer:
            assert not is_readable(io)
            for _ in range(3):
                calls = []
                for _ in range(3):
                    peer.send_message(peer.open(METHOD), b"request")
                    assert is_readable(io, 20)
                    calls += next_events(io)
                assert [(kind, bytes(data)) for kind, _, data in calls] == [(0, b"request")] * 3
                assert is_readable(io)
                assert io.take() == []
                assert not is_readable(io)
                for _, call, _ in calls:
                    call.finish(0, "")
        del call, calls
        stop(io, server)


def deadlines() -> None:
    """Who has stopped waiting before anybody looked is not told of; who waits is."""
    with served() as (io, server, address):
        with HostilePeer(address) as peer:
            for timeout in (b"20m", b"20m", b"1H"):
                peer.send_message(peer.open(METHOD, [(b"grpc-timeout", timeout)]), timeout)
            assert is_readable(io, 20)
            time.sleep(0.2)  # the two deadlines have passed, whatever the machine does meanwhile
            ((_, call, data),) = next_events(io)
            assert bytes(data) == b"1H"
            call.finish(0, "")
            assert [peer.outcome(stream) for stream in (1, 3)] != [0, 0]
            assert peer.outcome(5) == 0
        del call
        stop(io, server)


def failures() -> None:
    """What one event makes fail is told in the log; the events behind it are taken all the same."""
    told = BufferingHandler(100)
    logging.getLogger().addHandler(told)
    taken: asyncio.Queue[int] = asyncio.Queue()

    async def take() -> None:
        io = NativeIo(ServerSettings())
        number = io.number(lambda call, data: taken.put_nowait(1 // len(bytes(data))))
        server = native.Server(io.threads, [], max_calls=10, memory_bytes=MEMORY_BYTES)
        server.add_method(METHOD, number, reads_itself=False)
        address = f"127.0.0.1:{server.bind('127.0.0.1:0')}"
        io.begin(server)
        server.start()
        with HostilePeer(address) as peer:
            for body in (b"", b"1", b"", b"1"):
                peer.send_message(peer.open(METHOD), body)
            assert [await taken.get(), await taken.get()] == [1, 1]
        server.stop()
        server.cancel_calls()
        await io.stopped(server)
        io.end(server)

    asyncio.run(asyncio.wait_for(take(), 20))
    assert [record.exc_info[0] for record in told.buffer if record.exc_info] == [ZeroDivisionError] * 2


def bunches() -> None:
    """Every answer that is given in a bunch arrives, whatever becomes of its client and of the others."""
    with served() as (io, server, address), served() as (other_io, other_server, other_address):
        with HostilePeer(address) as peer, HostilePeer(address) as leaving, HostilePeer(other_address) as other:
            streams = [peer.open(METHOD) for _ in range(CALLS)]
            for stream in streams:
                peer.send_message(stream, b"")
            calls = next_calls(io, CALLS)
            leaving.send_message(leaving.open(METHOD), b"")
            (left,) = next_calls(io, 1)
            other_stream = other.open(METHOD)
            other.send_message(other_stream, b"")
            (others,) = next_calls(other_io, 1)
            leaving.close()

            native.begin_bunch()
            for number, call in enumerate(calls):
                native.begin_bunch()
                call.reply([b""]) if number % 2 else call.finish(number, "refused")
                native.end_bunch()
                call.finish(13, "only the first answer counts")
                left.reply([b""])
                others.reply([b""])
            native.end_bunch()

            assert [peer.outcome(stream) for stream in streams] == [0, 0, 2, 0, 4, 0, 6, 0]
            assert other.outcome(other_stream) == 0
        del calls, call, left, others
        stop(io, server)
        stop(other_io, other_server)


def one_write() -> None:
    """Answers of a bunch leave in one piece, where gRPC's core is one of our own."""
    with served() as (io, server, address):
        with HostilePeer(address) as peer:
            pieces = []
            for _ in range(ROUNDS):
                streams = [peer.open(METHOD) for _ in range(CALLS)]
                for stream in streams:
                    peer.send_message(stream, b"")
                calls = next_calls(io, CALLS)
                peer.pinged()  # what the requests made gRPC say has come
                before = data_segments(peer)
                native.begin_bunch()
                for call in calls:
                    call.reply([b"answer"])
                native.end_bunch()
                assert [peer.outcome(stream) for stream in streams] == [0] * CALLS
                pieces.append(data_segments(peer) - before)
                del calls, call  # a server has so many at once, and no more
            most = 2 if native.BEGINS_TOGETHER else CALLS
            assert median(pieces) <= most, pieces  # what is 0.2 ms late goes alone
        stop(io, server)


def late_answers() -> None:
    """Who is answered does not wait for the end of a bunch that goes on for long."""
    with served() as (io, server, address):
        with HostilePeer(address) as peer:
            streams = [peer.open(METHOD) for _ in range(3)]
            for stream in streams:
                peer.send_message(stream, b"")
            first, second, third = next_calls(io, 3)
            native.begin_bunch()
            first.reply([b""])
            time.sleep(LONG_S)
            native.send_late()
            assert peer.outcome(streams[0]) == 0
            second.reply([b""])
            time.sleep(LONG_S)
            third.reply([b""])
            assert [peer.outcome(stream) for stream in streams] == [0, 0, 0]
            native.end_bunch()
        del first, second, third
        stop(io, server)


def late_bunch() -> None:
    """What is still kept back when the threads end is dropped."""
    with served() as (io, server, address), HostilePeer(address) as peer:
        peer.send_message(peer.open(METHOD), b"")
        (call,) = next_calls(io, 1)
        native.begin_bunch()
        call.reply([b""])
        stop(io, server)
    native.end_bunch()


def next_calls(io: native.Io, count: int) -> list[native.Call]:
    calls: list[native.Call] = []
    while len(calls) < count:
        calls += [call for kind, call, _ in next_events(io) if kind >= 0]
    return calls


def data_segments(peer: HostilePeer) -> int:
    """How many segments with data have come."""
    told = peer.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, DATA_SEGMENTS_IN + 4)
    (count,) = struct.unpack_from("I", told, DATA_SEGMENTS_IN)
    return int(count)


CASES = SimpleNamespace(
    sent_buffers=sent_buffers,
    wake_ups=wake_ups,
    deadlines=deadlines,
    failures=failures,
    bunches=bunches,
    one_write=one_write,
    late_answers=late_answers,
    late_bunch=late_bunch,
)

if __name__ == "__main__":
    getattr(CASES, sys.argv[1])()
