"""Cases of the native transport's extension in a process without grpcio: `python -m tests.rpc.native_cases NAME`."""

import asyncio
import logging
import select
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from types import SimpleNamespace
from typing import Any

import appliance_native as native
import numpy as np

from appliance.rpc.native_io import NativeIo
from appliance.settings import ServerSettings
from tests.rpc.hostile_peer import HostilePeer, message

METHOD = "/hostile/Answer"
MEMORY_BYTES = 1 << 30


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
        assert given_back() is not None  # the call has it
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


CASES = SimpleNamespace(sent_buffers=sent_buffers, wake_ups=wake_ups, deadlines=deadlines, failures=failures)

if __name__ == "__main__":
    getattr(CASES, sys.argv[1])()
