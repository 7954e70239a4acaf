"""How much of one stream is held at once. The stream is read no further while its window is full.

Requests count until they are answered, answers until the transport has taken them. How large an answer will be nobody
knows before it is there, so a request counts for as much as the answer before it, if that is more than its own size.
Lives on the event loop.
"""

import asyncio

LARGEST_COUNT = 256
LARGEST_BYTES = 64 * 1024 * 1024  # and one message more: its size shows when it has been read


class StreamWindow:
    """What is held of one stream. Of messages larger than the window there is always room for one."""

    def __init__(self) -> None:
        self._count = 0
        self._held_bytes = 0
        self._answer_bytes = 0  # of the last one
        self._less_is_held = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Whether one more request may be read."""
        return not self._count or (self._count < LARGEST_COUNT and self._held_bytes < LARGEST_BYTES)

    def take_request(self, size_bytes: int) -> int:
        """Hold a request; return how many bytes it counts for."""
        counted_bytes = max(size_bytes, self._answer_bytes)
        self._count += 1
        self._held_bytes += counted_bytes
        return counted_bytes

    def put_answer(self, size_bytes: int, counted_bytes: int) -> None:
        """Hold an answer in the place of its request, which counted for so many bytes."""
        self._answer_bytes = size_bytes
        self._held_bytes += size_bytes - counted_bytes
        self._less_is_held.set()

    def give_answer(self, size_bytes: int) -> None:
        """Hold an answer no more."""
        self._count -= 1
        self._held_bytes -= size_bytes
        self._less_is_held.set()

    async def wait_for_room(self) -> None:
        """Wait until there is room."""
        while not self.has_room:
            self._less_is_held.clear()
            await self._less_is_held.wait()
