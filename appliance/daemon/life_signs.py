"""What the daemon shows of itself to systemd: what it does, that it lives, and that it needs more time.

The sign of life is no timer's: it is sent while every instance computes and the event loop turns.
"""

import asyncio
import logging
from collections.abc import Sequence

from appliance.journal_messages import Event, told
from appliance.sd_notify import SystemdNotifier
from appliance.serving.engine_works import EngineBuild
from appliance.serving.model_manager import ModelManager
from appliance.settings import ModelSettings

logger = logging.getLogger(__name__)

_EXTENSION_S = 30.0  # how far ahead systemd is told that loading still goes on


class LifeSigns:
    """One daemon's; everything on its event loop."""

    def __init__(
        self,
        notifier: SystemdNotifier,
        manager: ModelManager,
        settings: ModelSettings,
        *,
        watchdog_s: float,
        source: str,
        rescue: str,
    ) -> None:
        """watchdog_s: how long systemd waits for a sign, 0: for ever. rescue: why no slot could start."""
        self.state = "STARTING"
        self._notifier = notifier
        self._manager = manager
        self._settings = settings
        self._watchdog_s = watchdog_s
        self._source = source
        self._rescue = rescue

    def loading(self) -> None:
        """Loading begins."""
        self._notifier.status(self._doing())

    def ready(self) -> None:
        """Everything that is desired serves, or has failed with a reason."""
        self.state = "READY"
        text = self._doing()
        self._notifier.ready(text)
        logger.info("READY: %s", text, extra=told(Event.RESCUE if self._rescue else Event.READY))

    def reloading(self) -> None:
        """Settings and models are being read again."""
        if self.state == "READY":
            self._notifier.reloading()

    def reloaded(self) -> None:
        """They have been, or the old ones stay. Nobody is told READY who has not been before, or is no more."""
        if self.state == "READY":
            self._notifier.ready(self._doing())

    def draining(self) -> None:
        """The stop begins."""
        self.state = "DRAINING"
        try:
            self._notifier.stopping()
        except OSError as error:  # no descriptor is left, say: what is in flight gets its answers all the same
            logger.warning("systemd does not hear that the stop begins: %s", error)

    async def show(self) -> None:
        """Go on until cancelled."""
        period_s = min(self._watchdog_s / 2 or _EXTENSION_S / 3, _EXTENSION_S / 3)
        shown = ""
        while True:
            hung = self._manager.hung(self._settings.hung_after_s)
            builds = building_text(self._manager.engines.builds())
            text = "; ".join(filter(None, [hung and f"hung: {hung.partition(':')[0]}", self._doing(), builds]))
            if text != shown:
                self._notifier.status(text)
                shown = text
                if hung:
                    logger.critical("no sign of life for systemd any more: %s", hung, extra=told(Event.HUNG))
            if self.state == "STARTING" and self._manager.longest_load_s() < self._settings.load_timeout_s:
                self._notifier.extend_timeout(_EXTENSION_S)  # a load that hangs ends the start
            if self._watchdog_s and not hung:
                self._notifier.watchdog()
            await asyncio.sleep(period_s)

    def _doing(self) -> str:
        if self._rescue:
            return f"RESCUE: serving no model, taking updates: {self._rescue}"
        return f"loading models from {self._source}" if self.state == "STARTING" else self._serving()

    def _serving(self) -> str:
        table = self._manager.table
        ready = sum(1 for _ in table.loaded())
        wanted = any(entry is not None for _, entry, _ in table.rows())
        failed = [
            f"{name} version {entry.version}: {reason}"
            for name, entry, reason in table.rows()
            if entry is not None and entry.state.value == "UNAVAILABLE" and reason != "unloaded"
        ]
        failed += [f"{name}: {reason}" for name, entry, reason in table.rows() if entry is None]
        text = f"serving {ready} model version{'' if ready == 1 else 's'}" if wanted else "serving no model"
        return f"{text}; not served: {'; '.join(failed)}" if failed else text


def building_text(builds: Sequence[EngineBuild]) -> str:
    """Say in a line which engines are being built, and how far they are; '' if none is."""
    return ", ".join(
        f"engine of {build.available.name} version {build.available.version}: "
        + (f"{build.progress.fraction:.0%}" if build.progress else "waiting to be built")
        for build in builds
    )
