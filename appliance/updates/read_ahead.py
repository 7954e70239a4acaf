"""Reading a medium ahead of whoever hashes and writes, and giving up on one that no longer answers.

Two buffers go round between a reading thread and its caller, so memory stays flat and the stick is never idle. A
thread that hangs in the kernel cannot be ended; it is left behind, and the caller goes on with a refusal.
"""

import io
import queue
import threading
from collections.abc import Generator

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.durable import CHUNK_BYTES

READ_TIMEOUT_S = 30.0
_BUFFERS = 2


def chunks(
    stream: io.RawIOBase, chunk_bytes: int = CHUNK_BYTES, timeout_s: float = READ_TIMEOUT_S
) -> Generator[memoryview, None, None]:
    """Yield the stream piece by piece; each piece is overwritten as soon as the next is asked for.

    Raises UpdateRefused (MEDIUM_IO) if a read fails or takes longer than `timeout_s`.
    """
    free: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
    full: queue.SimpleQueue[memoryview | OSError | None] = queue.SimpleQueue()
    for _ in range(_BUFFERS):
        free.put(memoryview(bytearray(chunk_bytes)))
    reader = threading.Thread(target=_read, args=(stream, free, full), name="medium-reader", daemon=True)
    reader.start()
    try:
        while (piece := _next(full, timeout_s)) is not None:
            yield piece
            free.put(memoryview(piece.obj))
    finally:
        free.put(None)


def _next(full: "queue.SimpleQueue[memoryview | OSError | None]", timeout_s: float) -> memoryview | None:
    try:
        found = full.get(timeout=timeout_s)
    except queue.Empty:
        raise _unreadable(f"did not answer within {timeout_s:g} s") from None
    if isinstance(found, OSError):
        raise _unreadable(found.strerror or str(found)) from found
    return found


def _read(
    stream: io.RawIOBase,
    free: "queue.SimpleQueue[memoryview | None]",
    full: "queue.SimpleQueue[memoryview | OSError | None]",
) -> None:
    while (buffer := free.get()) is not None:
        try:
            count = stream.readinto(buffer)
        except OSError as error:
            full.put(error)
            return
        except ValueError:  # closed by a caller who has had enough
            return
        full.put(buffer[:count] if count else None)
        if not count:
            return


def _unreadable(reason: str) -> UpdateRefused:
    return UpdateRefused(
        Refusal.MEDIUM_IO,
        f"the medium cannot be read: {reason}",
        hint="is the stick still plugged in? Try again, then another stick",
        facts={"reason": reason},
    )
