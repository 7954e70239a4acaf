"""What happens to a machine over time: when it begins to be slowed down, when that ends, when its power mode changes.

Pure: fed with what was read and the monotonic time of it. Between two readings the machine's own counters tell.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from appliance.hardware.hardware import Hardware, Temperature, Throttle, ThrottleReason, gpu_part, hottest

QUIET_S = 60.0  # an episode ends when nothing was seen for so long: slowing down comes in short pulses


class HardwareEvent(Enum):
    """What is worth a line in the journal."""

    THROTTLING_BEGAN = "throttling began"
    THROTTLING_ENDED = "throttling ended"
    POWER_MODE_FOUND = "power mode"
    POWER_MODE_CHANGED = "power mode changed"


@dataclass(frozen=True, slots=True)
class HardwareChange:
    """One thing that happened. what: the part and the reason, or the power modes before and after."""

    event: HardwareEvent
    what: str
    lasted_s: float | None = None


@dataclass(slots=True)
class HardwareHistory:
    """One machine, since it has been watched."""

    began_s: float | None = None
    hottest: Temperature | None = None
    throttle_episodes: int = 0
    last_throttled_s: float | None = None
    power_mode: str | None = None
    _counters: dict[Throttle, float] = field(default_factory=dict)
    _open: dict[Throttle, tuple[float, float]] = field(default_factory=dict)  # since when, and last seen

    def observe(self, hardware: Hardware, now_s: float) -> list[HardwareChange]:
        """Take in what was read at a moment; returns what has changed."""
        self.began_s = now_s if self.began_s is None else self.began_s
        self.hottest = hottest(filter(None, (self.hottest, hottest(hardware.all_temperatures))))
        return [*self._throttling(hardware, now_s), *self._power_mode(hardware.power_mode)]

    def _throttling(self, hardware: Hardware, now_s: float) -> list[HardwareChange]:
        counters = _counters(hardware)
        seen = {*hardware.faults, *self._counted(counters)}
        self._counters = counters
        changes = []
        for throttle in sorted(seen):
            since_s, _ = self._open.get(throttle, (now_s, now_s))
            if throttle not in self._open:
                self.throttle_episodes += 1
                changes.append(HardwareChange(HardwareEvent.THROTTLING_BEGAN, throttle.text))
            self._open[throttle] = (since_s, now_s)
            self.last_throttled_s = now_s
        for throttle, (since_s, last_s) in sorted(self._open.items()):
            if now_s - last_s >= QUIET_S:
                del self._open[throttle]
                changes.append(HardwareChange(HardwareEvent.THROTTLING_ENDED, throttle.text, last_s - since_s))
        return changes

    def _counted(self, counters: Mapping[Throttle, float]) -> set[Throttle]:
        """Name what happened between two readings. What was counted before the first one says nothing."""
        return {throttle for throttle, count in counters.items() if count > self._counters.get(throttle, count)}

    def _power_mode(self, mode: str | None) -> list[HardwareChange]:
        before, self.power_mode = self.power_mode, mode or self.power_mode
        if mode is None or mode == before:
            return []
        if before is None:
            return [HardwareChange(HardwareEvent.POWER_MODE_FOUND, mode)]
        return [HardwareChange(HardwareEvent.POWER_MODE_CHANGED, f"{before} to {mode}")]


def _counters(hardware: Hardware) -> dict[Throttle, float]:
    """Collect what only rises while something is slowed down: the kernel's counts, and the GPUs' seconds."""
    counters: dict[Throttle, float] = {each.throttle: each.count for each in hardware.throttle_counts}
    for number, gpu in enumerate(hardware.gpus):
        if gpu.heat_throttled_s is not None:
            counters[Throttle(gpu_part(hardware.gpus, number), ThrottleReason.HEAT)] = gpu.heat_throttled_s
    return counters
