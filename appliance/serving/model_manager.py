"""Brings what is loaded in line with what is desired, and nobody else loads.

A new version is loaded and warmed beside the old one, then requests switch over, then the old one answers what it has
queued and is closed: no request fails. A version that cannot be loaded is UNAVAILABLE with its reason and disturbs no
other; the version that served before it goes on serving.

Ownership: all methods run on the event loop; loading and closing run on the manager's own threads.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from appliance.errors import ApplianceError, Failed, NotFound
from appliance.model.config import ModelConfig
from appliance.model.identity import ModelName, ModelVersion
from appliance.model.lifecycle import UNLOADED, ModelState
from appliance.registry.source import AvailableVersion, ModelSource, SourceModel
from appliance.serving.loaded_model import LoadedModel
from appliance.serving.model_table import ModelEntry, ModelTable, VersionEntry

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class ModelManager:
    """Owns every LoadedModel."""

    def __init__(self, source: ModelSource, *, load_threads: int, load_attempts: int) -> None:
        """Create it on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.source = source
        self.table = ModelTable()
        self.started = False
        self._load_attempts = load_attempts
        self._loaders = ThreadPoolExecutor(load_threads, thread_name_prefix="loader")
        self._closers = ThreadPoolExecutor(load_threads, thread_name_prefix="closer")
        self._reconciling = asyncio.Lock()
        self._locks: dict[ModelName, asyncio.Lock] = {}
        self._unloaded: dict[ModelName, tuple[ModelVersion, ...]] = {}  # by a client; with what was desired then
        self._overrides: dict[ModelName, ModelConfig] = {}
        self._drains: set[asyncio.Task[None]] = set()
        self._watchers: set[Callable[[], None]] = set()

    @property
    def ready(self) -> bool:
        """All desired models are READY (those that a client unloaded do not count)."""
        return self.started and self.table.all_ready()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each change of state; the returned function ends that."""
        self._watchers.add(changed)
        return lambda: self._watchers.discard(changed)

    async def reconcile(self) -> None:
        """Read the desired state and bring every model in line with it; returns when all have settled."""
        async with self._reconciling:
            found = await self._in_thread(self.source.scan)
            suspects = await self._in_thread(self._suspects, found)
            async with asyncio.TaskGroup() as group:
                for name in (set(found) | set(self.table.entries)) - suspects:
                    group.create_task(self._reconcile_model(name, found))
            for name in sorted(suspects):  # alone, so that if one ends the process only that one is blamed
                await self._reconcile_model(name, found)
            self.started = True
            self._changed()

    async def load(self, name: ModelName, override: ModelConfig | None = None) -> None:
        """Load what the source desires of one model now, again if it is loaded already.

        Raises Failed if no version came up; one that served before then goes on serving as it was.
        """
        found = await self._in_thread(self.source.scan)
        if name not in found or found[name].problem:
            problem = found[name].problem if name in found else "it is not in the repository"
            raise Failed(f"failed to load '{name}', failed to poll from model repository: {problem}")
        self._unloaded.pop(name, None)
        desired = found[name].desired
        if not desired:
            raise Failed(
                f"failed to load '{name}', no version is available: none is active",
                hint=f"appliance models activate {name} VERSION",
            )
        async with self._locks.setdefault(name, asyncio.Lock()):
            previous = self._overrides.get(name)
            self._override(name, override)
            await self._settle(name, found[name], desired, reload=True)
            versions = [self.table.entries[name].versions[version] for version in desired]
            if any(version.model and not version.reason for version in versions):
                return
            self._override(name, previous)
            which = "" if any(version.model for version in versions) else "no version is available: "
            raise Failed(f"failed to load '{name}', {which}{'; '.join(version.reason for version in versions)}")

    async def unload(self, name: ModelName) -> None:
        """Let every version of a model go; returns when none accepts requests. Raises NotFound."""
        if name not in self.table.entries:
            raise NotFound(f"Request for unknown model: '{name}' is not found")
        async with self._locks.setdefault(name, asyncio.Lock()):
            entry = self.table.entries[name]
            self._unloaded[name] = entry.source.desired
            for version in entry.versions.values():
                self._retire(version, UNLOADED)

    async def close(self) -> None:
        """Answer what is queued everywhere, then give everything back."""
        for entry in self.table.entries.values():
            for version in entry.versions.values():
                self._retire(version, "the appliance is stopping")
        # A load that is cut off would look like one that ended the process: let it finish.
        await self._loop.run_in_executor(self._closers, lambda: self._loaders.shutdown(cancel_futures=True))
        if self._drains:
            await asyncio.wait(self._drains)
        self._closers.shutdown(wait=False)

    def _override(self, name: ModelName, config: ModelConfig | None) -> None:
        if config is None:
            self._overrides.pop(name, None)
        else:
            self._overrides[name] = config

    async def _reconcile_model(self, name: ModelName, found: Mapping[ModelName, SourceModel]) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            if name not in found:
                self._forget(name)
                return
            source = found[name]
            if name in self._unloaded and self._unloaded[name] == source.desired:
                self._entry(name, source)
                return
            self._unloaded.pop(name, None)
            await self._settle(name, source, source.desired, reload=False)

    async def _settle(
        self, name: ModelName, source: SourceModel, desired: tuple[ModelVersion, ...], *, reload: bool
    ) -> None:
        """Load what is desired, switch over, let go of the rest."""
        entry = self._entry(name, source)
        wanted = [entry.versions[version] for version in desired if version in entry.versions]
        async with asyncio.TaskGroup() as group:
            for version in wanted:
                configured = self._configured(source.versions[version.version])
                if reload or version.model is None or version.model.available != configured:
                    group.create_task(self._bring_up(version, configured))
        if any(version.model for version in wanted) or not wanted:
            for version in entry.versions.values():
                if version not in wanted:
                    self._retire(version, UNLOADED)
        if not source.problem:
            entry.versions = {
                number: version
                for number, version in entry.versions.items()
                if number in source.versions or version.model is not None
            }
        self._changed()

    def _entry(self, name: ModelName, source: SourceModel) -> ModelEntry:
        entry = self.table.entries.setdefault(name, ModelEntry(source))
        if source.problem:  # what is loaded goes on serving; the reason is shown
            entry.source = replace(entry.source, problem=source.problem)
            return entry
        entry.source = source
        for number, available in source.versions.items():
            entry.versions.setdefault(number, VersionEntry(number, available)).available = available
        return entry

    def _configured(self, available: AvailableVersion) -> AvailableVersion:
        override = self._overrides.get(available.name)
        return replace(available, config=override) if override is not None else available

    async def _bring_up(self, version: VersionEntry, available: AvailableVersion) -> None:
        """Load one version beside what serves now, then switch over."""
        if version.draining is not None:
            await asyncio.wait([version.draining])
        previous = version.model
        if previous is None:
            version.move(ModelState.LOADING)
            self._changed()
        logger.info("loading %s version %s", available.name, available.version)
        try:
            model = await self._in_thread(self._load_blocking, available)
        except ApplianceError as error:
            logger.error("%s version %s is not served: %s", available.name, available.version, error)  # noqa: TRY400
            if previous is None:
                version.move(ModelState.UNAVAILABLE, str(error))
            else:
                version.reason = f"the version loaded before goes on serving; loading it again failed: {error}"
            return
        version.model = model
        if previous is None:
            version.move(ModelState.READY)
        else:
            version.reason = ""
            self._drain(previous)
        self._changed()
        logger.info("%s version %s is READY on %s", model.name, model.version, model.device)

    def _load_blocking(self, available: AvailableVersion) -> LoadedModel:
        """Verify, write the attempt down, load. Runs on a loader thread."""
        refusal = self.source.refusal(available, self._load_attempts)
        if refusal:
            raise Failed(refusal)
        self.source.verify(available)
        self.source.load_started(available)
        try:
            model = LoadedModel(available, self._loop)
        except Exception as error:
            self.source.load_finished(available, str(error))
            if isinstance(error, ApplianceError):
                raise
            raise Failed(f"loading failed: {type(error).__name__}: {error}") from error
        self.source.load_finished(available, "")
        return model

    def _suspects(self, found: Mapping[ModelName, SourceModel]) -> set[ModelName]:
        """Models of which a desired version was being loaded when the process ended last time."""
        return {
            name
            for name, model in found.items()
            if any(self.source.refusal(model.versions[version], 1) for version in model.desired)
        }

    def _forget(self, name: ModelName) -> None:
        for version in self.table.entries[name].versions.values():
            self._retire(version, UNLOADED)
        del self.table.entries[name]
        self._unloaded.pop(name, None)

    def _retire(self, version: VersionEntry, reason: str) -> None:
        """Switch requests away from a version at once; it is closed in the background."""
        model = version.model
        if model is None:
            if version.state is ModelState.UNAVAILABLE and reason == UNLOADED:
                version.reason = UNLOADED
            return
        version.model = None
        version.move(ModelState.UNLOADING, reason)
        self._changed()
        version.draining = self._drain(model)

        def drained(_: "asyncio.Task[None]") -> None:
            version.draining = None
            version.move(ModelState.UNAVAILABLE, reason)
            self._changed()

        version.draining.add_done_callback(drained)

    def _drain(self, model: LoadedModel) -> "asyncio.Task[None]":
        """Let a model answer what it has queued, then close it."""
        model.retire()

        async def drain() -> None:
            await self._loop.run_in_executor(self._closers, model.close)
            logger.info("%s version %s is unloaded", model.name, model.version)

        task = asyncio.create_task(drain())
        self._drains.add(task)
        task.add_done_callback(self._drains.discard)
        return task

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await self._loop.run_in_executor(self._loaders, function, *arguments)

    def _changed(self) -> None:
        self.table.rebuild()
        for changed in tuple(self._watchers):
            changed()
