"""Versions that wait for an engine, or change over to one: the tasks that build it while nothing is held up by them.

Ownership: all methods run on the event loop. A version has at most one build; giving it up ends it, and what it would
have led to does not happen.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from appliance.errors import ApplianceError
from appliance.registry.source import AvailableVersion
from appliance.serving.model_table import VersionEntry
from appliance.serving.version_loader import VersionLoader

logger = logging.getLogger(__name__)

Finished = Callable[[VersionEntry, AvailableVersion, "asyncio.Task[None]", str], Awaitable[None]]


class EngineChanges:
    """`finished` is told of each build that ended: version, what it was for, the task, the problem ('' if none)."""

    def __init__(self, loader: VersionLoader, finished: Finished) -> None:
        self._loader = loader
        self._finished = finished
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, version: VersionEntry, available: AvailableVersion) -> None:
        """Build the engine of a version."""
        task = asyncio.create_task(self._build(version, available))
        version.building, version.engine_of = task, available
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def give_up(self, version: VersionEntry) -> None:
        """End the build of a version; nothing happens if there is none."""
        if version.engine_of is not None:
            self._loader.cancel_build(version.engine_of)
        version.building = version.engine_of = None

    async def wait(self, versions: Callable[[], Iterable[VersionEntry]]) -> None:
        """Wait until none of the versions needs an engine that is still being built."""
        while waited := [
            each.building
            for each in versions()
            if each.waits_for_engine and each.building is not None and not each.building.done()
        ]:
            await asyncio.wait(waited)

    async def ended(self) -> None:
        """Wait until every build has ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _build(self, version: VersionEntry, available: AvailableVersion) -> None:
        task = asyncio.current_task()
        assert task is not None
        problem = ""
        try:
            await self._loader.build_engine(available)
        except ApplianceError as error:
            problem = str(error)
        await self._finished(version, available, task, problem)
