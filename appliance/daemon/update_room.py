"""Updates as the daemon has them: recovered at its start, judged by its models, and told in its audit log.

Ownership: event loop. Off a sealed box nothing here writes anything before somebody asks for an update.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from appliance import __version__
from appliance.backends.probe import probe
from appliance.daemon.manager_gate import ManagerGate, ServiceAround
from appliance.errors import ApplianceError
from appliance.hardware.conditions import conditions
from appliance.hardware.reader import read_once
from appliance.journal_messages import Event, told
from appliance.registry.model_registry import ModelRegistry
from appliance.serving.model_manager import ModelManager
from appliance.settings import Settings
from appliance.updates.audit_entry import AuditEvent, AuditFact
from appliance.updates.box import Box, DeviceFacts, utc_now
from appliance.updates.content_bringer import ContentBringer, bring_here
from appliance.updates.installer import Installer
from appliance.updates.software_slots import SoftwareSlots
from appliance.updates.update_works import UpdateWorks

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 60.0
_SAVE_EVERY_LOOKS = 60  # once an hour
PROOF_AFTER_S = 10.0  # software on trial lives this long after READY before it may stay
_JUMP_S = 60.0  # a clock that is set, not one that is disciplined


class UpdateRoom:
    """One daemon's updates."""

    def __init__(
        self,
        settings: Settings,
        registry: ModelRegistry,
        manager: ModelManager,
        around: ServiceAround,
        now: Callable[[], datetime] = utc_now,
        bring: ContentBringer = bring_here,
        slots: SoftwareSlots | None = None,
    ) -> None:
        """Create it on the running event loop. slots: as in `Box.of`."""
        stopping = threading.Event()
        self._box = Box.of(
            settings,
            registry,
            has_gpu=has_gpu,
            now=now,
            bring=bring,
            slots=slots,
            conditions=lambda: conditions(read_once(settings.layout.root)),
        )
        gate = ManagerGate(manager, asyncio.get_running_loop(), stopping, around)
        self.works = UpdateWorks(Installer(self._box, gate), stopping)
        self._sealed = registry.sealed

    async def before_loading(self) -> None:
        """Put in order what a crash left, and write the start down. Whatever is damaged there: serving goes on."""
        await asyncio.to_thread(self._forgive_models)
        if self._sealed:
            try:
                await self.works.recover()
            except Exception as error:  # whatever is damaged there must not keep models from serving
                logger.exception("no update can be installed: %s", error)  # noqa: TRY401
            await self._write_down(AuditEvent.SERVICE_STARTED, {"software": __version__})

    def _forgive_models(self) -> None:
        """Models that crashed with software that fell back get their attempts again with this one."""
        try:
            if self._box.slots.fell_back_just_now:
                self._box.registry.crash_guard.forgive_all()
                self._box.slots.note_forgiven()
        except ApplianceError as error:
            logger.error("crashes under the other software still count against models: %s", error)  # noqa: TRY400

    async def after_loading(self) -> None:
        """Finish an update that a crash cut off: its gate is what has just been loaded."""
        if self._sealed and not self._waits_for_proof():
            await self._finish_open()

    async def after_ready(self) -> None:
        """Prove that this software may stay, if it is on trial: not before it has lived for a while."""
        if not self._waits_for_proof():
            return
        await asyncio.sleep(PROOF_AFTER_S)
        if self._sealed and self._box.journal.read() is not None:
            await self._finish_open()
        elif self._box.slots.on_trial is not None:
            if reason := await self.works.judge_installed():
                failed = told(Event.SOFTWARE_FAILED)
                logger.error("this software failed its trial, the one before starts again: %s", reason, extra=failed)
            else:
                logger.info("this software has proved itself: it stays", extra=told(Event.SOFTWARE_KEPT))

    def _waits_for_proof(self) -> bool:
        """Whether an update that is open, or an installation, brought software: it is judged when it serves."""
        try:
            update = self._box.journal.read() if self._sealed else None
            return bool(update is not None and update.software) or self._box.slots.on_trial is not None
        except ApplianceError as error:
            logger.error("nothing is known of the software's trial: %s", error)  # noqa: TRY400
            return False

    async def _finish_open(self) -> None:
        try:
            outcome = await self.works.finish_open()
        except Exception as error:  # as above
            logger.exception("the update that is open cannot be finished: %s", error)  # noqa: TRY401
            return
        if outcome is not None:
            logger.log(
                logging.ERROR if outcome.code else logging.INFO,
                "the update that was open: %s",
                outcome.message,
                extra=told(Event.UPDATE_TAKEN_BACK if outcome.code else Event.UPDATE_FINISHED),
            )

    async def keep_time(self) -> None:
        """Save the time every hour, and write down when the clock jumps. Runs until it is cancelled."""
        looks, last = 0, self._clock_ahead_s()
        while self._sealed:
            if looks % _SAVE_EVERY_LOOKS == 0:
                await self._save_time()
            await asyncio.sleep(_LOOK_EVERY_S)
            looks, ahead = looks + 1, self._clock_ahead_s()
            if abs(ahead - last) > _JUMP_S:
                await self._write_down(AuditEvent.CLOCK_CHANGED, {"seconds": round(ahead - last)})
            last = ahead

    async def settings_changed(self, names: Sequence[str]) -> None:
        """Write down that the operator, or a bundle, changed settings."""
        if self._sealed and names:
            await self._write_down(AuditEvent.SETTINGS_CHANGED, {"settings": ", ".join(names)})

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

    def _clock_ahead_s(self) -> float:
        """How far the clock is ahead of the time since the machine started: changes only when it is set."""
        return self._box.now().timestamp() - time.monotonic()

    async def _save_time(self) -> None:
        try:
            await asyncio.to_thread(self._box.clock.save)
        except ApplianceError as error:
            logger.error("the time cannot be saved: %s", error)  # noqa: TRY400

    async def _write_down(self, event: AuditEvent, facts: dict[str, AuditFact]) -> None:
        try:
            await asyncio.to_thread(self._box.audit.append, event, facts)
        except ApplianceError as error:
            logger.error("%s is missing in the audit log: %s", event, error)  # noqa: TRY400


def has_gpu() -> bool:
    """Whether this box has a GPU that can be used, found by trying."""
    return bool(probe().gpus)
