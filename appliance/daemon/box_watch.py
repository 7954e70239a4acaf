"""What the daemon knows of its box beside its models: the machine, watched all the time; clock and slots, read anew.

The journal hears when the machine is slowed down and when its power mode changes; so does the audit log of a sealed
box, of one cause at most once an hour, because what flaps must not push older entries out.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from appliance import RELEASED
from appliance.errors import ApplianceError
from appliance.hardware.conditions import conditions
from appliance.hardware.hardware import Hardware
from appliance.hardware.history import HardwareChange, HardwareEvent
from appliance.hardware.reader import HardwareReader
from appliance.hardware.watch import HardwareWatch, WatchedHardware
from appliance.registry.seal import is_sealed
from appliance.rpc.box_state import BoxState
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.audit_log import AuditLog
from appliance.updates.box import utc_now
from appliance.updates.software_slots import SoftwareSlots
from appliance.updates.update_clock import UpdateClock

logger = logging.getLogger(__name__)

OLD_S = 120.0  # facts that nobody has been able to read anew for so long
_AGAIN_S = 3600.0
_AUDITED = {
    HardwareEvent.THROTTLING_BEGAN: AuditEvent.THROTTLING_BEGAN,
    HardwareEvent.POWER_MODE_CHANGED: AuditEvent.POWER_MODE_CHANGED,
}


class BoxWatch:
    """One daemon's watch over its box."""

    def __init__(
        self,
        layout: StateLayout,
        reader: HardwareReader | None = None,
        now: Callable[[], datetime] = utc_now,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._layout = layout
        self._now = now
        self._monotonic_s = monotonic_s
        self._audited_s: dict[HardwareChange, float] = {}
        self._watch = HardwareWatch(reader or HardwareReader(layout.root), self.tell, monotonic_s=monotonic_s)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as the block lasts."""
        self._watch.start()
        try:
            yield
        finally:
            self._watch.stop()

    def state(self) -> BoxState:
        """Say what the box is like. Reads small files: not for an event loop."""
        slots = SoftwareSlots.of(self._layout)
        return box_state(self._layout, self._watch.latest(), slots, self._now, self._watch.silent_s())

    def tell(self, change: HardwareChange, hardware: Hardware) -> None:
        """Write one change down."""
        level = logging.WARNING if change.event is HardwareEvent.THROTTLING_BEGAN else logging.INFO
        lasted = "" if change.lasted_s is None else f" after {change.lasted_s:.0f} s"
        logger.log(level, "%s%s: %s", change.event.value, lasted, change.what)
        event = _AUDITED.get(change.event)
        if event is None or not is_sealed(self._layout) or not self._due(change):
            return
        try:
            AuditLog(self._layout.audit, self._now).append(event, {"what": change.what} | conditions(hardware))
        except ApplianceError as error:
            logger.error("%s is missing in the audit log: %s", event, error)  # noqa: TRY400

    def _due(self, change: HardwareChange) -> bool:
        now_s = self._monotonic_s()
        if now_s - self._audited_s.get(change, -_AGAIN_S) < _AGAIN_S:
            return False
        self._audited_s[change] = now_s
        return True


def box_state(
    layout: StateLayout,
    hardware: WatchedHardware | None,
    slots: SoftwareSlots,
    now: Callable[[], datetime] = utc_now,
    silent_s: float = 0.0,
) -> BoxState:
    """Put together what the disk says with what was read of the machine. Whatever is damaged is named, no more.

    silent_s: for how long nothing could be read of the machine.
    """
    problems = []
    if silent_s > OLD_S:
        problems.append(f"a driver has not answered for {silent_s:.0f} s: the machine is not read (journalctl -k)")
    try:
        record = slots.store.read() if slots.installed else None
    except ApplianceError as error:
        record = None
        problems.append(str(error))
    clock = UpdateClock(layout.updates / "clock.json", now, RELEASED).judge()
    return BoxState(hardware, clock, record, slots.running, tuple(problems))
