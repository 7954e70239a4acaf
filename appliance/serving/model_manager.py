"""Brings what is loaded in line with what is desired, and nobody else loads.

A new version is loaded and warmed beside the old one, then requests switch over, then the old one answers what it has
queued and is closed: no request fails. A version that cannot be loaded is UNAVAILABLE with its reason and disturbs no
other; the version that served before it goes on serving, and so does a model whose package can no longer be read.

Ownership: all methods run on the event loop. Reconciling, loading and unloading run to their end even if whoever
asked for them leaves: half of one would leave the model half-loaded.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from appliance.errors import ApplianceError, Failed, NotFound
from appliance.model.config import ModelConfig
from appliance.model.identity import ModelName, ModelVersion
from appliance.model.lifecycle import UNLOADED, ModelState
from appliance.registry.source import AvailableVersion, ModelSource, SourceModel
from appliance.serving.config_overrides import ConfigOverrides
from appliance.serving.engine_works import EngineWorks
from appliance.serving.instance_worker import DeviceLost
from appliance.serving.loaded_model import LoadedModel, log_lost_device
from appliance.serving.model_table import ModelEntry, ModelTable, VersionEntry
from appliance.serving.version_loader import VersionLoader

logger = logging.getLogger(__name__)

_STOPPING = "the appliance is stopping"


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
    ) -> None:
        """Create it on the running event loop; `engines` is closed with it.

        device_lost: told, on some thread, when a GPU works no longer in this process.
        """
        self.source = source
        self.engines = engines
        self.table = ModelTable()
        self.started = False
        self._loader = VersionLoader(source, engines, device_lost, threads=load_threads, attempts=load_attempts)
        self._reconciling = asyncio.Lock()
        self._locks: dict[ModelName, asyncio.Lock] = {}
        self._unloaded: dict[ModelName, tuple[ModelVersion, ...]] = {}  # by a client; with what was desired then
        self._overrides = ConfigOverrides()
        self._works: set[asyncio.Task[None]] = set()
        self._builds: set[asyncio.Task[None]] = set()  # of engines for models that serve meanwhile
        self._watchers: set[Callable[[], None]] = set()
        self._closing = False

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
        await self._finish(self._reconcile())

    async def load(self, name: ModelName, override: ModelConfig | None = None) -> None:
        """Load what the source desires of one model now, again if it is loaded already.

        `override` stands for the model's own configuration until its files change or it is loaded again. Raises
        Failed if no version came up; one that served before then goes on serving as it was.
        """
        await self._finish(self._load(name, override))

    async def unload(self, name: ModelName) -> None:
        """Let every version of a model go; returns when none accepts requests. Raises NotFound."""
        await self._finish(self._unload(name))

    async def close(self) -> None:
        """Answer what is queued everywhere, then give everything back."""
        self._closing = True
        for entry in self.table.entries.values():
            for version in entry.versions.values():
                self._retire(version, _STOPPING)
        await self._loader.stop_loading()
        await asyncio.gather(*self._works, *self._builds, return_exceptions=True)
        await self._loader.close()

    def abandon_loads(self) -> None:
        """The process ends while loads run: write down that they did not end it."""
        self._loader.abandon()

    async def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._works.add(task)
        task.add_done_callback(self._works.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to read it
        await asyncio.shield(task)

    async def _reconcile(self) -> None:
        async with self._reconciling:
            found = await self._loader.run(self.source.scan)
            suspects = await self._loader.run(self._suspects, found)
            async with asyncio.TaskGroup() as group:
                for name in (set(found) | set(self.table.entries)) - suspects:
                    group.create_task(self._reconcile_model(name, found))
            for name in sorted(suspects):  # alone, so that if one ends the process only that one is blamed
                await self._reconcile_model(name, found)
            self.started = True
            self._changed()

    async def _load(self, name: ModelName, override: ModelConfig | None) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            source = (await self._loader.run(self.source.scan)).get(name)
            desired = _desired(name, source)
            assert source is not None
            self._unloaded.pop(name, None)
            previous = self._overrides.replace(name, override, [source.versions[version] for version in desired])
            await self._settle(name, source, desired, reload=True)
            versions = [self.table.entries[name].versions[version] for version in desired]
            if any(version.model and not version.reason for version in versions):
                return
            self._overrides.restore(name, previous)
            which = "" if any(version.model for version in versions) else "no version is available: "
            raise Failed(f"failed to load '{name}', {which}{'; '.join(version.reason for version in versions)}")

    async def _unload(self, name: ModelName) -> None:
        async with self._locks.setdefault(name, asyncio.Lock()):
            entry = self.table.entries.get(name)
            if entry is None:
                raise NotFound(f"Request for unknown model: '{name}' is not found")
            self._unloaded[name] = entry.source.desired
            for version in entry.versions.values():
                self._retire(version, UNLOADED)

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
        if source.problem:
            self._changed()
            return
        wanted = [entry.versions[version] for version in desired if version in entry.versions]
        async with asyncio.TaskGroup() as group:
            for version in wanted:
                configured = self._overrides.configured(source.versions[version.version])
                if reload or version.model is None or version.model.available != configured:
                    group.create_task(self._bring_up(version, configured))
        if any(version.model for version in wanted) or not wanted:
            for version in entry.versions.values():
                if version not in wanted:
                    self._retire(version, UNLOADED)
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

    async def _bring_up(self, version: VersionEntry, available: AvailableVersion, *, rebuilt: bool = False) -> None:
        """Load one version beside what serves now, then switch over. `rebuilt`: its engine has just been built."""
        if version.draining is not None:
            await asyncio.wait([version.draining])
        previous = version.model
        if previous is None:
            version.move(ModelState.LOADING)
            self._changed()
        logger.info("loading %s version %s", available.name, available.version)
        try:
            model = await self._loader.load(available)
        except ApplianceError as error:
            logger.error("%s version %s is not served: %s", available.name, available.version, error)  # noqa: TRY400
            if previous is None:
                version.move(ModelState.UNAVAILABLE, str(error))
            else:
                version.reason = f"the version loaded before goes on serving; loading it again failed: {error}"
            return
        except asyncio.CancelledError:  # the appliance stops before this load began
            if previous is None:
                version.move(ModelState.UNAVAILABLE, _STOPPING)
            raise
        version.model = model
        if previous is None:
            version.move(ModelState.READY)
        else:
            version.reason = ""
            self._loader.drain(previous)
        if self._closing:
            self._retire(version, _STOPPING)
            return
        self._changed()
        logger.info("%s version %s is READY on %s", model.name, model.version, model.device)
        if model.awaits_engine and not rebuilt:
            build = asyncio.create_task(self._change_to_engine(version, model))
            self._builds.add(build)
            build.add_done_callback(self._builds.discard)

    async def _change_to_engine(self, version: VersionEntry, model: LoadedModel) -> None:
        """Build the engine of a version that serves on another path meanwhile, then change over to it."""
        available = model.available
        try:
            await self._loader.build_engine(available)
        except ApplianceError as error:
            model.engine_failed(str(error))
            logger.warning("%s version %s stays on %s: %s", model.name, model.version, model.device, error)
            self._changed()
            return
        async with self._locks.setdefault(available.name, asyncio.Lock()):
            if version.model is model and not self._closing:
                await self._bring_up(version, available, rebuilt=True)

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
        self._overrides.forget(name)

    def _retire(self, version: VersionEntry, reason: str) -> None:
        """Switch requests away from a version at once; it is closed in the background."""
        self._loader.cancel_build(version.available)
        model = version.model
        if model is None:
            if version.state is ModelState.UNAVAILABLE and reason == UNLOADED:
                version.reason = UNLOADED
            return
        version.model = None
        version.move(ModelState.UNLOADING, reason)
        self._changed()
        version.draining = self._loader.drain(model)

        def drained(_: "asyncio.Task[None]") -> None:
            version.draining = None
            version.move(ModelState.UNAVAILABLE, reason)
            self._changed()

        version.draining.add_done_callback(drained)

    def _changed(self) -> None:
        self.table.rebuild()
        for changed in tuple(self._watchers):
            changed()


def _desired(name: ModelName, source: SourceModel | None) -> tuple[ModelVersion, ...]:
    """The versions that a load of this model means. Raises Failed if there are none."""
    if source is None or source.problem:
        problem = source.problem if source is not None else "it is not in the repository"
        raise Failed(f"failed to load '{name}', failed to poll from model repository: {problem}")
    if not source.desired:
        raise Failed(
            f"failed to load '{name}', no version is available: none is active",
            hint=f"appliance models activate {name} VERSION",
        )
    return source.desired
