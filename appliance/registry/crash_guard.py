"""What keeps a version that ends the process from doing so for ever: its loads and its executions, written down.

A load is written down before it begins. An execution is too quick for that: who was executing is found by the next
process, which writes it down before it loads anything. An operator who activates a version lets it be tried again.
"""

from collections.abc import Callable, Collection

from appliance.model.identity import ModelName, ModelVersion
from appliance.registry import crashes, loads
from appliance.registry.database import Database
from appliance.registry.records import Crash, CrashedVersion, Suspect


class CrashGuard:
    """Of one registry."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def refusal(self, name: ModelName, version: ModelVersion, allowed_crashes: int) -> str:
        """Say why a version must not be loaded again, '' if it may. allowed_crashes: while loading it."""
        with self._database.reading() as connection:
            return loads.refusal(connection, name, version, allowed_crashes) or crashes.refusal(
                connection, name, version
            )

    def load_started(self, name: ModelName, version: ModelVersion) -> None:
        """Write down, durably, that a load is being tried."""
        with self._database.writing() as connection:
            loads.started(connection, name, version, self._clock())

    def load_finished(self, name: ModelName, version: ModelVersion, problem: str) -> None:
        """Write down how the load ended; '' means READY."""
        with self._database.writing() as connection:
            loads.finished(connection, name, version, problem, self._clock())

    def write_down(self, suspects: Collection[Suspect], boot: str, uptime_s: float) -> None:
        """Write down who was executing when processes ended; once, however often it is said.

        boot, uptime_s: the kernel's name of the time since it started, and how long that is: now, when it was found.
        """
        with self._database.writing() as connection:
            for suspect in suspects:
                crash = Crash(suspect.process, boot, uptime_s, self._clock(), suspect.hung)
                crashes.record(connection, crash, suspect.name, suspect.version, suspect.digest)

    def crashed(self) -> list[CrashedVersion]:
        """Return every version that was executing when a process ended, since it was activated last."""
        with self._database.reading() as connection:
            return crashes.get_crashed(connection)

    def forgive_all(self) -> None:
        """Let loads and executions that ended the process of other software count no more."""
        with self._database.writing() as connection:
            loads.forgiven(connection)
            crashes.forgive_all(connection)
