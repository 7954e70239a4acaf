"""Receipts that their medium did not take, kept until somebody can put them on one.

The daemon may write to few media: a stick belongs to whoever mounted it. The command line, which root or the owner of
the stick runs, delivers them.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.receipt import SignedReceipt
from appliance.durable import disk_errors, fsync_directory, make_directory, write_file
from appliance.errors import InvalidInput
from appliance.updates.receipts import write_receipt

MOST_KEPT = 100  # the oldest go first
_LARGEST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Delivery:
    """paths: what lies on the medium now, relative to it. waiting: what stays; problem: why, '' if nothing does."""

    paths: tuple[str, ...]
    waiting: tuple[str, ...]
    problem: str = ""


class KeptReceipts:
    """The directory `receipts/` of one state directory; names rise with time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, signed: SignedReceipt) -> None:
        """Keep one, durably. Raises Failed."""
        with disk_errors("keeping a receipt"):
            make_directory(self._directory)
            names = self._names()
            number = int(names[-1].split("-")[0]) + 1 if names else 1
            target = self._directory / f"{number:08d}-{signed.receipt.ticket_id or 'no-ticket'}.json"
            write_file(target, signed.to_bytes(), mode=0o600)
            for name in names[: max(0, len(names) + 1 - MOST_KEPT)]:
                (self._directory / name).unlink()
            fsync_directory(self._directory)

    def waiting(self) -> list[str]:
        """Name those that no medium took yet, the oldest first. Raises Failed."""
        with disk_errors("looking at the receipts"):
            return self._names()

    def deliver(self, place: Path) -> Delivery:
        """Put all of them on a medium that takes them; what it does not take stays. Raises Failed.

        Root does this in a directory of the service's, in which anything may lie by now: nothing is followed.
        """
        delivered, problem = [], ""
        if not self._directory.is_dir():
            return Delivery((), ())
        with disk_errors("delivering receipts"), self._opened() as directory:
            for name in self._names():
                signed = _read(directory, name)
                if signed is None:
                    os.rename(name, f"{name}.damaged", src_dir_fd=directory, dst_dir_fd=directory)
                    continue
                written = write_receipt(place, signed)
                if not written.path:
                    problem = written.problem or f"{place} is read-only"
                    break
                delivered.append(written.path)
                os.unlink(name, dir_fd=directory)
        return Delivery(tuple(delivered), tuple(self.waiting()), problem)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield directory
        finally:
            os.close(directory)

    def _names(self) -> list[str]:
        if not self._directory.is_dir():
            return []
        return sorted(path.name for path in self._directory.glob("*-*.json"))


def _read(directory: int, name: str) -> SignedReceipt | None:
    """Read one; None if it is damaged, or no file at all."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        try:
            return SignedReceipt.parse(stream.read(_LARGEST_BYTES))
        except InvalidInput:
            return None
