"""The seam between services and transports.

A service is a table of methods: functions of the request bytes and our own call context. Unary functions return the
response as parts (joined by the transport, once); streams take an iterator of request bytes and yield responses.
No type of any gRPC library appears on this side.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy.typing as npt

# Anything contiguous that b"".join takes, arrays included.
Parts = Sequence["bytes | memoryview[Any] | npt.NDArray[Any]"]


# A request as the transport has it; large ones may be views of memory that is not Python's.
RequestBytes = bytes | memoryview


def joined(parts: Parts) -> bytes:
    """Join the parts of a response: the one copy between the runtime's output and the transport."""
    return b"".join(parts)  # type: ignore[arg-type]  # arrays are buffers; typing knows that from Python 3.12 on


class Call(Protocol):
    """What a service may know about the call that it answers."""

    @property
    def peer(self) -> str:
        """Who calls, in the transport's words: `ipv4:127.0.0.1:51234`, `unix:`."""

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Subject alternative names of the client's verified certificate, or its common name; empty without one."""

    @property
    def deadline_s(self) -> float | None:
        """Monotonic time after which the client no longer waits; None: it set no deadline."""

    @property
    def metadata(self) -> Mapping[str, str | bytes]:
        """Headers that the client sent."""


class Answer(Protocol):
    """Where the answer to a call goes. It is given once."""

    any_thread: bool  # whether any thread may give it; else only the event loop

    @property
    def together(self) -> AbstractContextManager[object]:
        """In it, answers that one thread gives may be kept back a moment, to go out with each other."""

    def reply(self, parts: Parts) -> None:
        """Answer with a message."""

    def fail(self, error: Exception) -> None:
        """Answer with an error."""


Leave = Callable[[], object]  # to be called on the event loop when the client no longer waits

UnaryMethod = Callable[[RequestBytes, Call], Awaitable[Parts]]
ServerStreamMethod = Callable[[RequestBytes, Call], AsyncIterator[Parts]]
# A unary method that answers at once or later, without a coroutine. Called on the event loop.
ImmediateMethod = Callable[[RequestBytes, Call, Answer], Leave | None]
StreamMethod = Callable[[AsyncIterator[RequestBytes], Call], AsyncIterator[Parts]]


@dataclass(frozen=True, slots=True)
class Service:
    """Methods of one gRPC service by their short names.

    immediate: other forms of some of the unary methods, for transports that can do without a coroutine.
    """

    name: str
    unary: Mapping[str, UnaryMethod]
    server_streams: Mapping[str, ServerStreamMethod]
    streams: Mapping[str, StreamMethod]
    immediate: Mapping[str, ImmediateMethod] = field(default_factory=dict)
