"""What goes on beside serving for as long as a daemon runs: signals, the signs of life, the keeping of time.

Nobody waits for these tasks. The signs of life are watched all the same: without them systemd would end an appliance
that serves, and no line would say why. And an appliance that can be called no more ends, so that it is started again.
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
from appliance.journal_messages import Event, told
from appliance.rpc.listening import PERIOD_S, ListeningSockets

logger = logging.getLogger(__name__)


class Background:
    """One daemon's; on its event loop."""

    def __init__(
        self,
        signs: LifeSigns,
        reloading: Reloading,
        keep_time: Callable[[], Coroutine[Any, Any, None]] | None,
        sockets: ListeningSockets,
        request_stop: Callable[[], None],
    ) -> None:
        """keep_time: None where nobody keeps it. request_stop: begins to drain, as SIGTERM does.

        sockets: where the appliance is called.
        """
        self._signs = signs
        self._reloading = reloading
        self._keep_time = keep_time
        self._sockets = sockets
        self._request_stop = request_stop
        self._failure: Failed | None = None

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
        tasks = [asyncio.create_task(self._signs.show()), asyncio.create_task(self._watch_listeners())]
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
        """Raise Failed if the signs of life ended by themselves, or if nobody listened any more."""
        if self._failure is not None:
            raise self._failure

    def _signs_ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled():
            return
        error = task.exception()
        logger.critical("the signs of life failed, so the appliance ends", exc_info=error)
        self._failure = Failed(
            f"the signs of life failed: {error!r}",
            hint="systemd starts the appliance again; report the lines before: appliance logs",
        )
        self._failure.__cause__ = error
        self._request_stop()

    async def _watch_listeners(self) -> None:
        deaf: list[str] = []
        while not deaf:
            await asyncio.sleep(PERIOD_S)
            try:
                deaf = await asyncio.to_thread(self._sockets.deaf)
            except (OSError, RuntimeError) as error:  # nothing is left, not even for this: the time to go on asking
                logger.warning("whether anybody can still call is not known: %s", error)
        what = f"nobody accepts connections to {', '.join(deaf)} any more"
        logger.critical("%s, so the appliance ends, to be started again", what, extra=told(Event.DEAF))
        self._failure = Failed(
            f"{what}: gRPC gave up, most often because the machine had no memory or descriptors left for one",
            hint="systemd starts the appliance again; what is in use: free; cat /proc/sys/fs/file-nr",
        )
        self._request_stop()
