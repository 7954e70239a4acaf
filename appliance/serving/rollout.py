"""Brings one version up beside what serves, switches requests over, and lets versions go: no request fails.

Ownership: all methods run on the event loop; the manager calls them under the lock of the model.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from appliance.errors import ApplianceError
from appliance.journal_messages import Event, told
from appliance.model.lifecycle import UNLOADED, ModelState
from appliance.registry.source import AvailableVersion
from appliance.serving.engine_changes import EngineChanges
from appliance.serving.loaded_model import LoadedModel
from appliance.serving.model_table import ModelEntry, VersionEntry
from appliance.serving.path_loading import EngineNeeded
from appliance.serving.version_loader import VersionLoader

logger = logging.getLogger(__name__)

STOPPING = "the appliance is stopping"
_ENGINE_GONE = "its engine was built, but is not in the cache any more (engines.largest_bytes)"


class Rollout:
    """Moves versions through their states. `changed` is told after each step."""

    def __init__(self, loader: VersionLoader, changes: EngineChanges, changed: Callable[[], None]) -> None:
        self._loader = loader
        self._changes = changes
        self._changed = changed
        self._closing = False

    def close(self) -> None:
        """From now on what comes up goes again at once."""
        self._closing = True

    async def bring_up(self, version: VersionEntry, available: AvailableVersion, *, built: bool = False) -> None:
        """Load one version beside what serves now, then switch over. `built`: its engine has just been built."""
        self._changes.give_up(version)
        if version.draining is not None:
            await asyncio.wait([version.draining])
        previous = version.model
        if previous is None and version.state is not ModelState.LOADING:
            version.move(ModelState.LOADING)
            self._changed()
        model = await self._loaded(version, available, built=built)
        if model is None:
            return
        version.model = model
        if previous is None:
            version.move(ModelState.READY)
        else:
            version.reason = ""
            self._loader.drain(previous)
        if self._closing:
            self.retire(version, STOPPING)
            return
        logger.info("%s version %s is READY on %s", model.name, model.version, model.device)
        if model.awaits_engine and built:
            model.engine_failed(_ENGINE_GONE)
        elif model.awaits_engine:
            self._changes.begin(version, available)
        self._changed()

    def engine_not_built(self, version: VersionEntry, available: AvailableVersion, problem: str) -> None:
        """What waited for an engine goes on without it, or is not served."""
        if version.model is not None and version.model.awaits_engine and version.model.available == available:
            version.model.engine_failed(problem)
            self._changed()
        else:
            self._fail(version, problem)

    def keep_only(self, entry: ModelEntry, wanted: Sequence[VersionEntry]) -> None:
        """Let the other versions go as soon as one of the wanted serves."""
        served = any(version.model for version in wanted) or not wanted
        for version in entry.versions.values():
            if version not in wanted and (served or version.model is None):
                self.retire(version, UNLOADED)
        entry.versions = {
            number: version
            for number, version in entry.versions.items()
            if number in entry.source.versions or version.model is not None
        }
        self._changed()

    def retire(self, version: VersionEntry, reason: str) -> None:
        """Switch requests away from a version at once; it is closed in the background."""
        waited = version.waits_for_engine
        self._changes.give_up(version)
        model = version.model
        if model is None:
            if waited:
                version.move(ModelState.UNAVAILABLE, reason)
                self._changed()
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

    async def _loaded(self, version: VersionEntry, available: AvailableVersion, *, built: bool) -> LoadedModel | None:
        """Load; None if that failed, or if an engine has to be built first."""
        logger.info("loading %s version %s", available.name, available.version)
        try:
            return await self._loader.load(available)
        except EngineNeeded:
            if built:
                self._fail(version, _ENGINE_GONE)
            else:
                self._changes.begin(version, available)
                self._changed()
        except ApplianceError as error:
            self._fail(version, str(error))
        except asyncio.CancelledError:  # the appliance stops before this load began
            if version.model is None:
                version.move(ModelState.UNAVAILABLE, STOPPING)
            raise
        return None

    def _fail(self, version: VersionEntry, problem: str) -> None:
        """What was to be loaded cannot be; what served before goes on."""
        logger.error(
            "%s version %s is not served: %s",
            version.available.name,
            version.version,
            problem,
            extra=told(Event.MODEL_NOT_SERVED),
        )
        if version.model is None:
            version.move(ModelState.UNAVAILABLE, problem)
        else:
            if version.model.awaits_engine:  # the load that failed gave that build up
                version.model.engine_failed("the build of its engine was given up for a load that failed")
            version.reason = f"the version loaded before goes on serving; loading it again failed: {problem}"
        self._changed()
