"""Work that runs to its end even if whoever asked for it leaves: half of a load would leave a model half-loaded."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class FinishedWork:
    """Owns the tasks. Lives on the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it and wait for it; raises what it raises. If the caller is cancelled the work goes on."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to read it
        await asyncio.shield(task)

    async def ended(self) -> None:
        """Wait until all of it has ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
