"""What slows a machine down, as its kernel shows it: now, and how often since it started."""

import re

from appliance.hardware.hardware import Throttle, ThrottleCount, ThrottleReason
from appliance.hardware.kernel_files import KernelFiles

_ALERT = "-throttle-alert"
# Things that cool by making a part slower. Fans and the like are cooling devices too, and work all the time.
_SLOWING = (
    (re.compile(rf"(.+){_ALERT}"), ""),
    (re.compile(r"processor|(thermal-)?cpufreq.*|intel_powerclamp", re.IGNORECASE), "CPU"),
    (re.compile(r"(thermal-)?devfreq.*gpu.*", re.IGNORECASE), "GPU"),
)
# Jetson Linux, "OC events".
_SUPPLY_EVENTS = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "momentary over-current"}


def read_throttling(files: KernelFiles) -> tuple[Throttle, ...] | None:
    """Name the parts that are being slowed down to cool them; None if nothing here can slow any down."""
    tells, found = False, set()
    for device in files.glob("sys/class/thermal/cooling_device*"):
        part = _slowed_part(files.text(device / "type") or "")
        tells = tells or bool(part)
        # -1 is a cooling that is switched off.
        if part and (files.number(device / "cur_state") or 0) > 0:
            found.add(Throttle(part, ThrottleReason.HEAT))
    return tuple(sorted(found)) if tells else None


def _slowed_part(kind: str) -> str:
    for pattern, part in _SLOWING:
        if match := pattern.fullmatch(kind):
            return part or match[1].upper()
    return ""


def read_throttle_counts(files: KernelFiles) -> tuple[ThrottleCount, ...]:
    """Count what has slowed the machine down since it started, as far as something counts it."""
    return (*_processor_counts(files), *_alert_counts(files), *_supply_counts(files))


def _processor_counts(files: KernelFiles) -> list[ThrottleCount]:
    # Every processor of a package shows the package's count, every thread of a core the core's: the highest counts.
    paths = files.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    counts = [count for path in paths if (count := files.number(path)) is not None]
    return [ThrottleCount(Throttle("CPU", ThrottleReason.HEAT), max(counts))] if counts else []


def _alert_counts(files: KernelFiles) -> list[ThrottleCount]:
    found = []
    for path in files.glob(f"sys/devices/platform/*{_ALERT}/thermal_trip_event"):
        if (count := files.number(path)) is not None:
            part = path.parent.name.removesuffix(_ALERT).upper()
            found.append(ThrottleCount(Throttle(part, ThrottleReason.HEAT), count))
    return found


def _supply_counts(files: KernelFiles) -> list[ThrottleCount]:
    found = []
    for path in files.glob("sys/class/hwmon/hwmon*/oc*_event_cnt"):
        event = _SUPPLY_EVENTS.get(path.name.removesuffix("_event_cnt"))
        if event is not None and (count := files.number(path)) is not None:
            found.append(ThrottleCount(Throttle(event, ThrottleReason.POWER_SUPPLY), count))
    return found
