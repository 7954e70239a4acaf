"""gRPC's core for Python's event loop: bytes in, bytes out, without the interpreter's lock in between.

Names of methods are paths, `/package.Service/Method`. Codes are gRPC's numbers. A call may be answered by any thread.
"""

from typing import Any, final

from appliance.rpc.call import Parts

CANCELLED: int  # kind of an event: nobody waits for the answer any more
MESSAGE: int  # what was asked for with `read`
NO_MESSAGE: int  # ... and the client has sent its last message
WRITTEN: int  # what was given to `write` is on its way
STOPPED: int  # a server has no more calls; the event is about the server
GRPC_CORE_VERSION: str
BEGINS_TOGETHER: bool  # whether the answers of a bunch go out in one write

def begin_bunch() -> None:
    """From here on keep back the answers (`reply`, `finish`) that this thread gives.

    Up to `end_bunch`, or to the first answer or `send_late` after 0.2 ms. Those of one connection then go out in one
    write. Bunches may be nested; the outermost counts.
    """

def send_late() -> None:
    """Send what was kept back, if that is 0.2 ms old; to be called between two things that take their time."""

def end_bunch() -> None:
    """Send what was kept back. To be called by the same thread."""

@final
class Call:
    @property
    def peer(self) -> str:
        """Who calls, in gRPC's words."""

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Whom the client's verified certificate names; empty without one."""

    @property
    def deadline_s(self) -> float | None:
        """Monotonic seconds; None if the client set no deadline."""

    @property
    def metadata(self) -> dict[str, str | bytes]:
        """The client's headers; those named `...-bin` as bytes."""

    def watch(self) -> None:
        """Have CANCELLED told when nobody waits for the answer any more; for what is not answered at once."""

    def read(self) -> None:
        """Ask for the next message of a stream: MESSAGE or NO_MESSAGE follows."""

    def write(self, parts: Parts) -> None:
        """Send one message of a stream: WRITTEN follows, or CANCELLED. Arrays must stay as they are until then."""

    def reply(self, parts: Parts) -> None:
        """Send the only message and end the call well. Does nothing if the call has ended."""

    def finish(self, code: int, details: str) -> None:
        """End the call. Does nothing if it has ended."""

@final
class Io:
    """The I/O threads, and what they have for the event loop."""

    def __init__(self, *, threads: int) -> None: ...
    def fileno(self) -> int:
        """Readable when there are events."""

    def take(self) -> list[tuple[int, Any, bytes | memoryview]]:
        """All events so far: kind or number of the method, whom it is about, and the message that came.

        To be called as long as `fileno` is readable, which it stays until there was nothing. Calls whose deadline has
        passed meanwhile are not told of.
        """

    def close(self) -> None:
        """End the threads, after all servers have stopped. Blocks."""

@final
class Server:
    def __init__(self, io: Io, arguments: list[tuple[str, int]], *, max_calls: int, memory_bytes: int) -> None:
        """arguments: gRPC's channel arguments. max_calls: calls beyond that are refused.

        memory_bytes: what connections may hold together, large requests that wait included. When it is used up, gRPC
        ends some of their calls and takes no new connection.
        """

    def add_method(self, path: str, number: int, *, reads_itself: bool) -> None:
        """Serve a method; an event with `number` tells of each call, with the request unless it `reads_itself`."""

    def bind(
        self, address: str, certificate_chain: bytes = b"", key: bytes = b"", client_authorities: bytes = b""
    ) -> int:
        """Listen; return the port (1 for a Unix socket), 0 if that cannot be.

        With a certificate and its key, in PEM, over TLS; with authorities, clients must show a certificate of theirs.
        """

    def start(self) -> None:
        """Accept calls."""

    def stop(self) -> None:
        """Take no new calls and tell the clients so; STOPPED follows when those in flight have ended."""

    def cancel_calls(self) -> None:
        """Cancel the calls in flight, after `stop`."""
