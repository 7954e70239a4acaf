"""Receipts that their medium did not take, kept until somebody can put them on one.

The daemon may write to few media: a stick belongs to whoever mounted it. The command line, which root or the owner of
the stick runs, delivers them.
"""

from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.receipt import SignedReceipt
from appliance.durable import disk_errors, fsync_directory, make_directory, write_file
from appliance.errors import InvalidInput
from appliance.updates.receipts import write_receipt

MOST_KEPT = 100  # the oldest go first


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
        """Put all of them on a medium that takes them; what it does not take stays. Raises Failed."""
        delivered, problem = [], ""
        with disk_errors("delivering receipts"):
            for name in self._names():
                kept = self._directory / name
                try:
                    signed = SignedReceipt.parse(kept.read_bytes())
                except InvalidInput:
                    kept.rename(kept.with_suffix(".damaged"))
                    continue
                written = write_receipt(place, signed)
                if not written.path:
                    problem = written.problem or f"{place} is read-only"
                    break
                delivered.append(written.path)
                kept.unlink()
        return Delivery(tuple(delivered), tuple(self.waiting()), problem)

    def _names(self) -> list[str]:
        if not self._directory.is_dir():
            return []
        return sorted(path.name for path in self._directory.glob("*-*.json"))
