"""The gate of updates over a ModelManager: desired versions are READY, or here is why not."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

from appliance.errors import Cancelled
from appliance.model.identity import ModelName
from appliance.model.lifecycle import ModelState
from appliance.serving.model_manager import ModelManager


@dataclass(frozen=True, slots=True)
class ServiceAround:
    """What updates may ask of the service around them.

    reload: reads the settings again, as SIGHUP does. settings_problem: why they would not let a daemon start.
    self_call: calls the service as a client does; why no right answer came, or ''. restart: begins to stop, so that
    the service starts again; False if nothing runs that could.
    """

    reload: Callable[[], Awaitable[tuple[list[str], list[str]]]]
    settings_problem: Callable[[], str]
    self_call: Callable[[Collection[ModelName]], Awaitable[str]]
    restart: Callable[[], bool]


class ManagerGate:
    """Called on the updates' thread; the manager lives on its event loop."""

    def __init__(
        self,
        manager: ModelManager,
        loop: asyncio.AbstractEventLoop,
        stopping: threading.Event,
        around: ServiceAround,
    ) -> None:
        self._manager = manager
        self._loop = loop
        self._stopping = stopping
        self._around = around

    def settle(self, names: Collection[ModelName]) -> Mapping[ModelName, str]:
        """Load what is desired beside what serves, and say which of these models do not serve, and why."""
        problems = asyncio.run_coroutine_threadsafe(self._settle(names), self._loop).result()
        if self._stopping.is_set():
            raise Cancelled("the appliance is stopping", hint="it goes on with the update when it starts again")
        return problems

    def live(self) -> Collection[ModelName]:
        """Name the models of which a version is READY once all have settled."""
        return asyncio.run_coroutine_threadsafe(self._live(), self._loop).result()

    def self_call(self) -> str:
        """Ask for every model that is READY at the service's own door."""
        return asyncio.run_coroutine_threadsafe(self._called(), self._loop).result()

    def restart(self) -> bool:
        """Begin to stop."""
        return self._around.restart()

    def settings_problem(self) -> str:
        """Try what a start would need."""
        return self._around.settings_problem()

    def apply_settings(self) -> tuple[str, ...]:
        """Read the settings again; return those that wait for a restart."""
        _, needs_restart = asyncio.run_coroutine_threadsafe(_awaited(self._around.reload()), self._loop).result()
        return tuple(needs_restart)

    async def _live(self) -> list[ModelName]:
        await self._manager.reconcile(engines=True)  # without a daemon nothing is loaded yet
        return self._ready()

    def _ready(self) -> list[ModelName]:
        return sorted({model.name for model in self._manager.table.loaded()})

    async def _called(self) -> str:
        return await self._around.self_call(self._ready())

    async def _settle(self, names: Collection[ModelName]) -> dict[ModelName, str]:
        await self._manager.reconcile(engines=True)
        return {name: problem for name in names if (problem := self._problem(name))}

    def _problem(self, name: ModelName) -> str:
        entry = self._manager.table.entries.get(name)
        if entry is None:
            return ""  # not desired any more
        if entry.source.problem:
            return entry.source.problem
        versions = [entry.versions[version] for version in entry.source.desired if version in entry.versions]
        return "; ".join(
            f"version {version.version} is {version.state.value}: {version.reason}"
            for version in versions
            if version.state is not ModelState.READY
        )


async def _awaited(reloading: Awaitable[tuple[list[str], list[str]]]) -> tuple[list[str], list[str]]:
    return await reloading
