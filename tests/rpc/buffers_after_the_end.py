"""Whether the last buffers that gRPC lets go of are given back, in a process without grpcio. Prints `given back`."""

import select
import weakref

import appliance_native as native
import numpy as np

from tests.rpc.hostile_peer import HostilePeer, message


def next_events(io: native.Io) -> list[tuple[int, object, object]]:
    assert select.select([io.fileno()], [], [], 20)[0]
    return io.take()


def main() -> None:
    io = native.Io(threads=1)
    server = native.Server(io, [], max_calls=10)
    server.add_method("/hostile/Answer", 0, reads_itself=False)
    port = server.bind("127.0.0.1:0")
    server.start()
    with HostilePeer(f"127.0.0.1:{port}") as peer:
        peer.send_message(peer.open("/hostile/Answer"), message(b""))
        ((_, call, _),) = next_events(io)
        answer = np.zeros(1_000_000, np.float32)
        given_back = weakref.ref(answer)
        call.reply([answer])
        del answer
    server.stop()
    server.cancel_calls()
    while not any(kind == native.STOPPED for kind, *_ in next_events(io)):
        pass
    assert given_back() is not None  # the call has it

    del call
    io.close()

    print("given back" if given_back() is None else "lost")  # noqa: T201


if __name__ == "__main__":
    main()
