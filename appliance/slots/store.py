"""The record of the slots on disk, in two copies that are written in turn: whatever tears one leaves the other.

Writers take turns by the directory's flock.
"""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from appliance.durable import copy_hashed, disk_errors, exclusive_lock, fsync_directory, make_directory
from appliance.errors import Failed, InvalidInput
from appliance.slots.record import SlotName, SlotRecord

DIRECTORY_MODE = 0o755
_COPIES = ("record.a", "record.b")


class SlotStore:
    """The `slots/` directory of one state directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: SlotName) -> Path:
        """Return where a slot's tree lies, or would."""
        return self.directory / name

    def snapshot_path(self, name: str) -> Path:
        """Return where a copy of the registry lies."""
        return self.directory / name

    @property
    def exists(self) -> bool:
        """Whether software runs from slots here at all."""
        return any((self.directory / copy).exists() for copy in _COPIES)

    def read(self) -> SlotRecord:
        """Return the newest whole copy; of a box without slots an empty record. Raises Failed if no copy is whole."""
        found, problems = [], []
        for copy in _COPIES:
            try:
                found.append(SlotRecord.parse((self.directory / copy).read_bytes()))
            except FileNotFoundError:
                continue
            except InvalidInput as error:
                problems.append(f"{self.directory / copy}: {error.message}")
            except OSError as error:
                problems.append(f"{self.directory / copy} cannot be read: {error.strerror}")
        if not found and problems:
            raise Failed(
                f"the record of the software slots is damaged: {'; '.join(problems)}",
                hint="install the software again: apt install ./appliance_*.deb, or scripts/install.sh",
            )
        return max(found, key=lambda record: record.number, default=SlotRecord())

    def change(self, change: Callable[[SlotRecord], SlotRecord]) -> SlotRecord:
        """Read, change and write in one turn: the daemon and the selector may both be at work. Raises Failed."""
        with disk_errors("writing the record of the software slots"):
            make_directory(self.directory)
        with exclusive_lock(self.directory):
            before = self.read()
            after = change(before)
            return before if after == before else self.write(after)

    def write(self, record: SlotRecord) -> SlotRecord:
        """Write it down durably over the older copy. Returns it with its number. Raises Failed."""
        try:
            number = self.read().number + 1
        except Failed:
            number = record.number + 1  # both copies are damaged, and this one takes their place
        record = replace(record, number=number)
        target = self.directory / _COPIES[number % len(_COPIES)]
        with disk_errors("writing the record of the software slots"):
            make_directory(self.directory)
            partial = target.with_suffix(target.suffix + ".tmp")
            partial.unlink(missing_ok=True)
            copy_hashed(io.BytesIO(record.to_bytes()), partial, mode=0o644)
            os.replace(partial, target)  # noqa: PTH105  (counted by tests of crashes)
            fsync_directory(self.directory)
        return record
