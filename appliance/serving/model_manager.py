"""Brings what is loaded in line with what is desired, and nobody else loads.

A new version is loaded and warmed beside the old one, then requests switch over, then the old one answers what it has
queued and is closed: no request fails. A version that cannot be loaded is UNAVAILABLE with its reason and disturbs no
other; the version that served before it goes on serving, and so does a model whose package can no longer be read.

Ownership: all methods run on the event loop. Reconciling, loading and unloading run to their end even if whoever
asked for them leaves.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from appliance.errors import Failed, NotFound
from appliance.model.config import ModelConfig
from appliance.model.identity import ModelName, ModelVersion
from appliance.model.lifecycle import UNLOADED
from appliance.registry.source import AvailableVersion, ModelSource, SourceModel
from appliance.serving.config_overrides import ConfigOverride, ConfigOverrides
from appliance.serving.engine_changes import EngineChanges
from appliance.serving.engine_works import EngineWorks
from appliance.serving.execution_marks import ExecutionMarks
from appliance.serving.finished_work import FinishedWork
from appliance.serving.instance_worker import DeviceLost
from appliance.serving.loaded_model import log_lost_device
from appliance.serving.model_table import ModelTable, VersionEntry, versions_to_load, why_none_came_up
from appliance.serving.rollout import STOPPING, Rollout
from appliance.serving.version_loader import VersionLoader


class ModelManager:
    """Owns every LoadedModel."""

    def __init__(
        self,
        source: ModelSource,
        engines: EngineWorks,
        *,
        load_threads: int,
        load_attempts: int,
        device_lost: DeviceLost = log_lost_device,
        marks: ExecutionMarks | None = None,
    ) -> None:
        """Create it on the running event loop; `engines` is closed with it.

        device_lost: told, on some thread, when a GPU works no longer in this process. marks: where the next process
        sees who executed when this one died; None: nobody looks.
        """
        self.source = source
        self.engines = engines
        self.table = ModelTable()
        self._loader = VersionLoader(
            source, engines, device_lost, marks or ExecutionMarks(), threads=load_threads, attempts=load_attempts
        )
        self._changes = EngineChanges(self._loader, self._engine_finished)
        self._rollout = Rollout(self._loader, self._changes, self._changed)
        self._reconciling = asyncio.Lock()
        self._locks: dict[ModelName, asyncio.Lock] = {}
        self._unloaded: dict[ModelName, tuple[ModelVersion, ...]] = {}  # by a client; with what was desired then
        self._overrides = ConfigOverrides()
        self._work = FinishedWork()
        self._watchers: set[Callable[[], None]] = set()

    @property
    def ready(self) -> bool:
        """All desired models are READY (those that a client unloaded do not count)."""
        return self.table.started and self.table.all_ready()

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each change of state; the returned function ends that."""
        self._watchers.add(changed)
        return lambda: self._watchers.discard(changed)

    async def reconcile(self, *, engines: bool = False) -> None:
        """Read the desired state and bring every model in line with it; returns when all have settled.

        engines: wait also for versions that stay LOADING until their engine is built; others may be reconciled,
        loaded and unloaded meanwhile.
        """
        await self._work.finish(self._reconcile())
        if engines:
            await self._work.finish(self._changes.wait(self.table.versions))

    async def load(self, name: ModelName, override: ModelConfig | None = None) -> None:
        """Load what the source desires of one model now, again if it is loaded already.

        `override` stands for the model's own configuration until its files change or it is loaded again. Raises
        Failed if no version came up; one that served before then goes on serving as it was.
        """
        await self._work.finish(self._load(name, override))

    async def unload(self, name: ModelName) -> None:
        """Let every version of a model go; returns when none accepts requests. Raises NotFound."""
        await self._work.finish(self._unload(name))

    async def close(self) -> None:
        """Answer what is queued everywhere, then give everything back."""
        self._rollout.close()
        for entry in self.table.entries.values():
            for version in entry.versions.values():
                self._rollout.retire(version, STOPPING)
        await self._loader.stop_loading()
        await self._work.ended()
        await self._changes.ended()
        await self._loader.close()

    def hung(self, patience_s: float) -> str:
        """Say which version that serves does not compute any more, and why; '' if all do."""
        found = [(model, model.hung(patience_s)) for model in self.table.loaded()]  # all: each marks what hangs
        return next((f"{model.name} version {model.version}: {reason}" for model, reason in found if reason), "")

    def longest_load_s(self) -> float:
        """For how long the oldest of the loads that go on has gone on, without the time of building engines."""
        return self._loader.longest_load_s()

    def abandon_loads(self) -> None:
        """The process ends while loads run: write down that they did not end it."""
        self._loader.abandon()

    async def _reconcile(self) -> None:
        async with self._reconciling:
            found = await self._loader.run(self.source.scan)
            suspects = await self._loader.suspects(found)
            async with asyncio.TaskGroup() as group:
                for name in (set(found) | set(self.table.entries)) - suspects:
                    group.create_task(self._reconcile_model(name, found))
            for name in sorted(suspects):  # alone, so that if one ends the process only that one is blamed
                await self._reconcile_model(name, found)
            self.table.started = True
            self._changed()

    async def _load(self, name: ModelName, override: ModelConfig | None) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            source = (await self._loader.run(self.source.scan)).get(name)
            desired = versions_to_load(name, source)
            assert source is not None
            self._unloaded.pop(name, None)
            previous = self._overrides.replace(name, override, [source.versions[version] for version in desired])
            await self._settle(name, source, desired, reload=True)
            versions = [self.table.entries[name].versions[version] for version in desired]
            if not any(version.waits_for_engine for version in versions):
                self._require_loaded(name, versions, previous)
                return
        await self._changes.wait(lambda: versions)
        async with self._locks[name]:
            self._require_loaded(name, versions, previous)

    def _require_loaded(
        self, name: ModelName, versions: Sequence[VersionEntry], previous: ConfigOverride | None
    ) -> None:
        problem = why_none_came_up(versions)
        if problem:
            self._overrides.restore(name, previous)
            raise Failed(f"failed to load '{name}', {problem}")

    async def _unload(self, name: ModelName) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            entry = self.table.entries.get(name)
            if entry is None:
                raise NotFound(f"Request for unknown model: '{name}' is not found")
            self._unloaded[name] = entry.source.desired
            for version in entry.versions.values():
                self._rollout.retire(version, UNLOADED)

    async def _reconcile_model(self, name: ModelName, found: Mapping[ModelName, SourceModel]) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            if name not in found:
                self._forget(name)
                return
            source = found[name]
            if name in self._unloaded and self._unloaded[name] == source.desired:
                self.table.entry_for(name, source)
                return
            self._unloaded.pop(name, None)
            await self._settle(name, source, source.desired, reload=False)

    async def _settle(
        self, name: ModelName, source: SourceModel, desired: tuple[ModelVersion, ...], *, reload: bool
    ) -> None:
        """Load what is desired, switch over, let go of the rest."""
        entry = self.table.entry_for(name, source)
        if source.problem:
            self._changed()
            return
        wanted = [entry.versions[version] for version in desired if version in entry.versions]
        async with asyncio.TaskGroup() as group:
            for version in wanted:
                configured = self._overrides.configured(source.versions[version.version])
                loaded = version.model is not None and version.model.available == configured
                if reload or not (loaded or (version.waits_for_engine and version.engine_of == configured)):
                    group.create_task(self._rollout.bring_up(version, configured))
        self._rollout.keep_only(entry, wanted)

    async def _engine_finished(
        self, version: VersionEntry, available: AvailableVersion, build: "asyncio.Task[None]", problem: str
    ) -> None:
        """Load what waited for its engine, beside what serves."""
        async with self._locks.setdefault(available.name, asyncio.Lock()):
            if version.building is not build:
                return  # nobody wants it any more
            version.building = version.engine_of = None
            if problem:
                self._rollout.engine_not_built(version, available, problem)
                return
            await self._rollout.bring_up(version, available, built=True)
            entry = self.table.entries[available.name]
            self._rollout.keep_only(
                entry, [entry.versions[each] for each in entry.source.desired if each in entry.versions]
            )

    def _forget(self, name: ModelName) -> None:
        for version in self.table.entries[name].versions.values():
            self._rollout.retire(version, UNLOADED)
        del self.table.entries[name]
        self._unloaded.pop(name, None)
        self._overrides.forget(name)

    def _changed(self) -> None:
        self.table.rebuild()
        for changed in tuple(self._watchers):
            changed()
