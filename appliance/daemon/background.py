"""What goes on beside serving for as long as a daemon runs: signals, the signs of life, the keeping of time.

Nobody waits for these tasks. The signs of life are watched all the same: without them systemd would end an appliance
that serves, and no line would say why.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from appliance.daemon.life_signs import LifeSigns
from appliance.daemon.reloading import Reloading
from appliance.errors import Failed

logger = logging.getLogger(__name__)


class Background:
    """One daemon's; on its event loop."""

    def __init__(
        self,
        signs: LifeSigns,
        reloading: Reloading,
        keep_time: Callable[[], Coroutine[Any, Any, None]] | None,
        request_stop: Callable[[], None],
    ) -> None:
        """keep_time: None where nobody keeps it. request_stop: begins to drain, as SIGTERM does."""
        self._signs = signs
        self._reloading = reloading
        self._keep_time = keep_time
        self._request_stop = request_stop
        self._failure: BaseException | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run all of it during the block."""
        loop = asyncio.get_running_loop()
        reloads: set[asyncio.Task[None]] = set()

        def on_hangup() -> None:
            task = asyncio.create_task(self._reloading.by_signal())
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        loop.add_signal_handler(signal.SIGTERM, self._request_stop)
        loop.add_signal_handler(signal.SIGINT, self._request_stop)
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
        tasks = [asyncio.create_task(self._signs.show())]
        tasks[0].add_done_callback(self._signs_ended)
        if self._keep_time is not None:
            tasks.append(asyncio.create_task(self._keep_time()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for reload in reloads:
                reload.cancel()
            loop.add_signal_handler(signal.SIGHUP, lambda: None)  # by default it would end a process that drains

    def require_sound(self) -> None:
        """Raise Failed if the signs of life ended by themselves."""
        if self._failure is not None:
            raise Failed(
                f"the signs of life failed: {self._failure!r}",
                hint="systemd starts the appliance again; report the lines before: appliance logs",
            ) from self._failure

    def _signs_ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        self._failure = task.exception()
        logger.critical("the signs of life failed, so the appliance ends", exc_info=self._failure)
        self._request_stop()
