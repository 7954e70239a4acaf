"""Updates inside the running daemon: one at a time on a thread of their own, seen by whoever asks, ended by nobody.

Ownership: everything here runs on the event loop but the installer, which has its thread. An update goes on to its
end even if the caller leaves; a stop of the appliance ends it where that leaves nothing half done.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from appliance.updates.installer import Installer, busy
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.preparation import ApplyRequest
from appliance.updates.update_run import UpdateProgress

MOST_WAITING = 1000  # messages to a caller that reads slowly, or not at all

Event = UpdateProgress | UpdateOutcome | BaseException | None
Work = Callable[[Callable[[UpdateProgress], None], threading.Event], UpdateOutcome | None]


class UpdateWorks:
    """Runs the installer for the admin service. Create it on the running event loop."""

    def __init__(self, installer: Installer, stopping: threading.Event) -> None:
        self.progress: UpdateProgress | None = None
        self._installer = installer
        self._stopping = stopping
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "updates")
        self._tasks: set[asyncio.Task[None]] = set()

    def apply(self, request: ApplyRequest) -> AsyncIterator[UpdateProgress | UpdateOutcome]:
        """Install a medium's bundle; the outcome comes last. Raises Cancelled, Failed."""
        return self._alone(lambda report, stopping: self._installer.apply(request, report, stopping))

    def roll_back(self) -> AsyncIterator[UpdateProgress | UpdateOutcome]:
        """Take the last update back; the outcome comes last. Raises Cancelled, Failed."""
        return self._alone(self._installer.roll_back)

    async def recover(self) -> None:
        """Put in order what a crash left; before any model is loaded."""
        await self._loop.run_in_executor(self._thread, self._installer.recover)

    async def finish_open(self) -> UpdateOutcome | None:
        """Finish an update that a crash cut off; after the models have been loaded. Raises Cancelled, Failed."""
        last = None
        async for event in self._events(self._installer.finish_open):
            last = event if isinstance(event, UpdateOutcome) else last
        return last

    async def judge_installed(self) -> str:
        """Judge software that an installation put on trial; says why it may not stay, or ''."""
        return await self._loop.run_in_executor(self._thread, self._installer.judge_installed)

    async def end(self) -> None:
        """Wait for the update that goes on, which was told to stop."""
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._thread.shutdown(wait=False)

    async def _alone(self, work: Work) -> AsyncIterator[UpdateProgress | UpdateOutcome]:
        """One at a time: who comes second is told, and does not wait."""
        if self._tasks:
            yield UpdateOutcome.of_refusal(busy())
            return
        async for event in self._events(work):
            yield event

    async def _events(self, work: Work) -> AsyncIterator[UpdateProgress | UpdateOutcome]:
        events: asyncio.Queue[Event] = asyncio.Queue()
        task = asyncio.create_task(self._run(work, events))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        while (event := await events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event

    async def _run(self, work: Work, events: "asyncio.Queue[Event]") -> None:
        def report(progress: UpdateProgress) -> None:
            self._loop.call_soon_threadsafe(self._show, progress, events)

        try:
            outcome = await self._loop.run_in_executor(self._thread, work, report, self._stopping)
            if outcome is not None:
                events.put_nowait(outcome)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is the answer to whoever asked)
            events.put_nowait(error)
        finally:
            self.progress = None
            events.put_nowait(None)

    def _show(
        self,
        progress: UpdateProgress,
        events: "asyncio.Queue[Event]",
    ) -> None:
        self.progress = progress
        if events.qsize() < MOST_WAITING:  # nobody may be listening any more
            events.put_nowait(progress)
