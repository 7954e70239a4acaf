"""Reads the machine every so often, on a thread of its own: whoever asks gets at once what was read last.

Ownership: `start` and `stop` belong to one owner. The thread alone uses the reader and tells of changes. A driver
that hangs keeps only the thread; then what was read last grows old, and says so.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from appliance.hardware.hardware import Hardware, Temperature
from appliance.hardware.history import HardwareChange, HardwareHistory
from appliance.hardware.reader import HardwareReader

logger = logging.getLogger(__name__)

PERIOD_S = 15.0
STOP_WITHIN_S = 2.0

Told = Callable[[HardwareChange, Hardware], None]


@dataclass(frozen=True, slots=True)
class WatchedHardware:
    """What was read last, how old it is, and what has happened since the watch began."""

    hardware: Hardware
    age_s: float
    watched_s: float | None = None  # None: it was read once, and not watched
    hottest: Temperature | None = None
    throttle_episodes: int | None = None  # None: the machine does not tell
    last_throttled_s_ago: float | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    hardware: Hardware
    read_s: float
    began_s: float
    hottest: Temperature | None
    throttle_episodes: int
    last_throttled_s: float | None


class HardwareWatch:
    """The watch of one machine."""

    def __init__(
        self,
        reader: HardwareReader,
        told: Told,
        period_s: float = PERIOD_S,
        monotonic_s: Callable[[], float] = time.monotonic,
        stop_within_s: float = STOP_WITHIN_S,
    ) -> None:
        """told: called on the watch's thread with each change."""
        self._reader = reader
        self._told = told
        self._period_s = period_s
        self._monotonic_s = monotonic_s
        self._stop_within_s = stop_within_s
        self._started_s = monotonic_s()
        self._history = HardwareHistory()
        self._reading: _Reading | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hardware", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End. A thread that a driver keeps is left to the end of the process."""
        self._stop.set()
        self._thread.join(self._stop_within_s)
        if not self._thread.is_alive():
            self._reader.close()

    def latest(self) -> WatchedHardware | None:
        """Return what was read last; None before the first reading is done."""
        reading, now_s = self._reading, self._monotonic_s()
        if reading is None:
            return None
        last_s = reading.last_throttled_s
        return WatchedHardware(
            hardware=reading.hardware,
            age_s=now_s - reading.read_s,
            watched_s=now_s - reading.began_s,
            hottest=reading.hottest,
            throttle_episodes=reading.throttle_episodes if reading.hardware.tells_throttling else None,
            last_throttled_s_ago=None if last_s is None else now_s - last_s,
        )

    def silent_s(self) -> float:
        """Say for how long nothing could be read."""
        reading = self._reading
        return self._monotonic_s() - (self._started_s if reading is None else reading.read_s)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
            except Exception:  # what a strange machine shows must not end the watch
                logger.exception("the machine's facts cannot be read")
            self._stop.wait(self._period_s)

    def _look(self) -> None:
        hardware = self._reader.read()
        now_s, history = self._monotonic_s(), self._history
        changes = history.observe(hardware, now_s)
        # One assignment, so that whoever asks meanwhile sees the reading before or this one.
        self._reading = _Reading(
            hardware,
            now_s,
            now_s if history.began_s is None else history.began_s,
            history.hottest,
            history.throttle_episodes,
            history.last_throttled_s,
        )
        for change in changes:
            self._told(change, hardware)
