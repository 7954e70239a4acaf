"""What time it can be: the box's clock, and a floor that it cannot be before.

The floor is the latest of: when this software was released, the issue times of accepted tickets, and the time that
the daemon saves every hour. A clock that is wrong for a while must not bar updates for good: what is saved rises by
no more than a month beyond the floor that this process began with, and the time that it has run. A clock more than a
day below the floor is suspect; then the floor is taken for the time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from appliance.bundle.moments import moment_text, parse_moment
from appliance.bundle.signed_document import SignedDocument
from appliance.durable import disk_errors, make_directory, write_file
from appliance.errors import InvalidInput

TOLERANCE = timedelta(hours=24)
LEAP = timedelta(days=31)  # by which a saved time may be ahead of what is known without a clock


class _SavedTime(SignedDocument):
    title: ClassVar[str] = "the saved time"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    floor: str


@dataclass(frozen=True, slots=True)
class ClockJudgement:
    """`clock`: what the box's clock says. `now`: the later of it and `floor`. All in UTC."""

    clock: datetime
    floor: datetime
    suspect: bool

    @property
    def now(self) -> datetime:
        """The time that counts."""
        return max(self.clock, self.floor)


class UpdateClock:
    """Judges the clock of one box."""

    def __init__(
        self,
        file: Path,
        now: Callable[[], datetime],
        released: datetime,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._now = now
        self._released = released
        self._monotonic_s = monotonic_s
        self._began: tuple[datetime, float] | None = None  # the floor at the first saving, and when that was

    def judge(self) -> ClockJudgement:
        """Say what time it is, and how far that can be trusted."""
        clock, floor = self._now(), max(self._released, self._saved())
        return ClockJudgement(clock, floor, suspect=clock < floor - TOLERANCE)

    def save(self) -> None:
        """Remember that it has been this late, as far as that can be true."""
        if self._began is None:
            self._began = (max(self._released, self._saved()), self._monotonic_s())
        floor, began_s = self._began
        latest = floor + LEAP + timedelta(seconds=self._monotonic_s() - began_s)
        self._raise_to(min(self._now(), latest))

    def accepted(self, issued: datetime) -> None:
        """Remember that a ticket of this time was accepted."""
        self._raise_to(issued)

    def _saved(self) -> datetime:
        try:
            return parse_moment(_SavedTime.parse(self._file.read_bytes()).floor)
        except (OSError, InvalidInput):  # a lost file lowers the floor to the software's release
            return self._released

    def _raise_to(self, moment: datetime) -> None:
        if moment <= self._saved():
            return
        with disk_errors("saving the time"):
            make_directory(self._file.parent)
            write_file(self._file, _SavedTime(floor=moment_text(moment)).to_bytes(), mode=0o644)
