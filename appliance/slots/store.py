"""The record of the slots on disk, in two copies that are written in turn: whatever tears one leaves the other.

Writers take turns by the directory's flock. Whoever may open the directory could hold that for ever, so that nobody
waits for longer than a turn may last.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from appliance.durable import disk_errors, lock_within, make_directory, write_file
from appliance.errors import Busy, Failed, InvalidInput
from appliance.slots.record import SlotName, SlotRecord

_COPIES = ("record.a", "record.b")
_LARGEST_BYTES = 4 * 1024 * 1024
_PATIENCE_S = 60.0  # a change takes milliseconds; filling a slot, on a slow disk, a minute


class SlotStore:
    """The record in the `slots/` directory of one state directory. trees: where the slots are, if not there too."""

    def __init__(self, directory: Path, trees: Path | None = None, *, patience_s: float = _PATIENCE_S) -> None:
        self.directory = directory
        self.trees = trees or directory
        self._patience_s = patience_s

    def path(self, name: SlotName) -> Path:
        """Return where a slot's tree lies, or would."""
        return self.trees / name

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
                found.append(SlotRecord.parse(_content(self.directory / copy)))
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

    def read_or_begin(self) -> SlotRecord:
        """Return the record; where no copy is whole, an empty one in their place. Raises Failed."""
        try:
            return self.read()
        except Failed:
            return self.write(SlotRecord())

    def change(self, change: Callable[[SlotRecord], SlotRecord]) -> SlotRecord:
        """Read, change and write in one turn: daemon and selector may both be at work. Raises Failed, Busy."""
        with disk_errors("writing the record of the software slots"):
            make_directory(self.directory)
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with self.turn(descriptor, self.directory):
            before = self.read()
            after = change(before)
            return before if after == before else self.write(after)

    @contextmanager
    def turn(self, descriptor: int, path: Path) -> Iterator[None]:
        """Lock alone what a descriptor leads to, and close it at the end. Raises Busy if others do not let it go."""
        try:
            if not lock_within(descriptor, self._patience_s):
                raise Busy(
                    f"another process has held {path} for {self._patience_s:.0f} s",
                    hint=f"see which one: lslocks --notruncate | grep {path}; when it has ended, do this again "
                    "(a package: dpkg --configure -a)",
                )
            yield
        finally:
            os.close(descriptor)

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
            write_file(target, record.to_bytes(), mode=0o644)
        return record


def _content(path: Path) -> bytes:
    """Read a file that others may have put there: no link, nothing that never ends or makes a reader wait.

    Raises InvalidInput, OSError.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidInput("it is no file")
        data = stream.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise InvalidInput(f"it has more than {_LARGEST_BYTES} bytes")
    return data
