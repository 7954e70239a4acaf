"""Updates as the daemon has them: recovered at its start, judged by its models, and told in its audit log.

Ownership: event loop. Off a sealed box nothing here writes anything before somebody asks for an update.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from datetime import datetime

from appliance import __version__
from appliance.backends.probe import probe
from appliance.daemon.manager_gate import ManagerGate, Reload
from appliance.errors import ApplianceError
from appliance.registry.model_registry import ModelRegistry
from appliance.serving.model_manager import ModelManager
from appliance.settings import Settings
from appliance.updates.audit_entry import AuditEvent, AuditFact
from appliance.updates.box import Box, DeviceFacts, utc_now
from appliance.updates.installer import Installer
from appliance.updates.update_works import UpdateWorks

logger = logging.getLogger(__name__)

_SAVE_TIME_EVERY_S = 3600.0


class UpdateRoom:
    """One daemon's updates."""

    def __init__(
        self,
        settings: Settings,
        registry: ModelRegistry,
        manager: ModelManager,
        reload: Reload,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """Create it on the running event loop. reload: reads the settings again, as SIGHUP does."""
        stopping = threading.Event()
        self._box = Box.of(settings, registry, has_gpu=has_gpu, now=now)
        gate = ManagerGate(manager, asyncio.get_running_loop(), stopping, reload)
        self.works = UpdateWorks(Installer(self._box, gate), stopping)
        self._sealed = registry.sealed

    async def before_loading(self) -> None:
        """Put in order what a crash left, and write the start down. Whatever is damaged there: serving goes on."""
        if self._sealed:
            try:
                await self.works.recover()
            except ApplianceError as error:
                logger.error("no update can be installed: %s", error)  # noqa: TRY400
            await self._write_down(AuditEvent.SERVICE_STARTED, {"software": __version__})

    async def after_loading(self) -> None:
        """Finish an update that a crash cut off: its gate is what has just been loaded."""
        try:
            outcome = await self.works.finish_open() if self._sealed else None
        except ApplianceError as error:
            logger.error("the update that was cut off cannot be finished: %s", error)  # noqa: TRY400
            return
        if outcome is not None:
            logger.log(
                logging.ERROR if outcome.code else logging.INFO, "the update that was cut off: %s", outcome.message
            )

    async def keep_time(self) -> None:
        """Save the time now and then, so that a clock that falls back is noticed. Runs until it is cancelled."""
        while self._sealed:
            await asyncio.to_thread(self._box.clock.save)
            await asyncio.sleep(_SAVE_TIME_EVERY_S)

    def device(self) -> DeviceFacts | None:
        """Say who this box is and whom it trusts; None if it was never provisioned."""
        return self._box.device_facts()

    async def stop(self) -> None:
        """Let an update that goes on end where nothing is half done."""
        await self.works.end()

    async def stopped(self) -> None:
        """Write the stop down."""
        if self._sealed:
            await self._write_down(AuditEvent.SERVICE_STOPPED, {})

    async def _write_down(self, event: AuditEvent, facts: dict[str, AuditFact]) -> None:
        try:
            await asyncio.to_thread(self._box.audit.append, event, facts)
        except ApplianceError as error:
            logger.error("%s is missing in the audit log: %s", event, error)  # noqa: TRY400


def has_gpu() -> bool:
    """Whether this box has a GPU that can be used, found by trying."""
    return bool(probe().gpus)
