"""Where the facts about built engines are kept: apart from the engines themselves, so that a file proves nothing."""

from typing import Protocol

from appliance.model.engine import EngineRecord


class EngineLedger(Protocol):
    """The rows beside the files. Every change is durable when the call returns; any thread may call."""

    def find(self, key: str) -> EngineRecord | None:
        """Return the row of one engine."""

    def all(self) -> list[EngineRecord]:
        """Return every row, least recently used first."""

    def record(self, record: EngineRecord) -> None:
        """Write a row, in place of the one with the same key."""

    def used(self, key: str, at: float, device_bytes: int) -> None:
        """Note that an engine was loaded at `at` (seconds since 1970); 0 device_bytes leaves what was measured."""

    def forget(self, key: str) -> None:
        """Remove a row; nothing happens if there is none."""
