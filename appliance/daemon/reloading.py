"""Settings and models read again: by SIGHUP, by the command line, by an update.

What cannot change while the service runs is named, and waits for a restart.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from appliance.daemon.flat_settings import flat
from appliance.daemon.journal import configure_logging
from appliance.daemon.life_signs import LifeSigns
from appliance.errors import ApplianceError
from appliance.journal_messages import Event, told
from appliance.serving.model_manager import ModelManager
from appliance.settings import Settings

logger = logging.getLogger(__name__)


class Reloading:
    """One daemon's; everything on its event loop. `settings`: those in force."""

    def __init__(
        self,
        settings: Settings,
        read_settings: Callable[[], Settings],
        manager: ModelManager,
        signs: LifeSigns,
        changed: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        """`changed` is told which settings differ from those in force, before models are looked at."""
        self.settings = settings
        self._read_settings = read_settings
        self._manager = manager
        self._signs = signs
        self._tell_changed = changed
        self._turn = asyncio.Lock()

    async def reload(self) -> tuple[list[str], list[str]]:
        """Read settings and desired models again; returns (applied, needs restart).

        Raises InvalidInput for settings that are not valid; then nothing changes.
        """
        before, after = flat(self.settings), self._read_settings()
        changed = sorted(key for key, value in flat(after).items() if before.get(key) != value)
        applied = [key for key in changed if key.startswith("log.")]
        configure_logging(after.log)
        self.settings = self.settings.model_copy(update={"log": after.log})
        await self._tell_changed(changed)
        await self._manager.reconcile()
        return applied, [key for key in changed if key not in applied]

    async def by_signal(self) -> None:
        """Do it for SIGHUP: systemd hears of it, and the journal how it went."""
        async with self._turn:  # one after the other, or systemd hears RELOADING and READY of different ones
            self._signs.reloading()
            try:
                applied, later = await self.reload()
                logger.info("reloaded; applied: %s; after a restart: %s", applied or "nothing", later or "nothing")
            except ApplianceError as error:
                refused = told(Event.RELOAD_REFUSED)
                logger.error("reload failed, the old settings stay in force: %s", error, extra=refused)  # noqa: TRY400
            except Exception:  # whatever it is, systemd must hear that the reload is over
                logger.exception("reload failed")
            self._signs.reloaded()
