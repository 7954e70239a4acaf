"""Updates while no daemon runs: the same installer, in this process, under the daemon's lock.

The gate is the same too: every model that shall serve is loaded once, warmed up and given its golden samples, and let
go again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime

from appliance.backends.probe import probe_until
from appliance.daemon.manager_gate import ServiceAround
from appliance.daemon.model_source import open_source
from appliance.daemon.settings_trial import settings_problem
from appliance.daemon.state_lock import daemon_lock
from appliance.daemon.update_room import UpdateRoom
from appliance.model.identity import ModelName
from appliance.serving.cached_engines import CachedEngines
from appliance.serving.engine_works import EngineWorks
from appliance.serving.model_manager import ModelManager
from appliance.settings import Settings, load_settings
from appliance.updates.box import utc_now
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.software_slots import SoftwareSlots
from appliance.updates.update_run import UpdateProgress
from appliance.updates.update_works import UpdateWorks

Work = Callable[[UpdateWorks], AsyncIterator[UpdateProgress | UpdateOutcome]]


def run_offline(
    settings: Settings,
    work: Work,
    report: Callable[[UpdateProgress], None],
    now: Callable[[], datetime] = utc_now,
    slots: SoftwareSlots | None = None,
) -> UpdateOutcome:
    """Do one update. slots: as in `Box.of`. Raises Busy if a daemon has the state directory, Failed."""
    with daemon_lock(settings.layout):
        return asyncio.run(_run(settings, work, report, now, slots))


async def _run(
    settings: Settings,
    work: Work,
    report: Callable[[UpdateProgress], None],
    now: Callable[[], datetime],
    slots: SoftwareSlots | None,
) -> UpdateOutcome:
    with open_source(settings.model_copy(update={"models_directory": None})) as opened:
        assert opened.registry is not None
        manager = ModelManager(
            opened.source,
            EngineWorks(CachedEngines(settings), probe_until, gpu_uuid=settings.gpu.uuid),
            load_threads=settings.models.load_threads,
            load_attempts=settings.models.load_attempts,
        )
        own = {"state_directory": settings.layout.root, "runtime_directory": settings.layout.runtime}
        room = UpdateRoom(
            settings,
            opened.registry,
            manager,
            ServiceAround(
                reload=_nothing_to_reload,
                settings_problem=lambda: settings_problem(lambda: load_settings(overrides=own), ()),
                self_call=_no_door,
                restart=lambda: False,
            ),
            now,
            slots=slots,
        )
        try:
            outcome = None
            async for event in work(room.works):
                if isinstance(event, UpdateOutcome):
                    outcome = event
                else:
                    report(event)
            assert outcome is not None, "an update ends with its outcome"
            return outcome
        finally:
            stopping = asyncio.create_task(room.stop())
            await manager.close()
            await stopping


async def _no_door(_: Collection[ModelName]) -> str:
    """No service runs that could be called: its software proves itself at the next start."""
    return ""


async def _nothing_to_reload() -> tuple[list[str], list[str]]:
    """No daemon runs: the next one reads the settings at its start."""
    return [], []
