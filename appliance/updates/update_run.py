"""One update on its way: where it is, who is told, and whether it shall end.

The steps and what may follow each of them stand here, in one table.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from appliance.bundle.ticket import Ticket
from appliance.errors import Cancelled


class Step(Enum):
    """Where an update is."""

    OPEN = "OPEN"  # find the one bundle on the medium
    VERIFY = "VERIFY"  # signatures, thresholds, versions, time
    PLAN = "PLAN"  # is it for this box, in this order; what is missing; is there room
    STAGE = "STAGE"  # content arrives; nothing else has changed
    COMMIT = "COMMIT"  # trust, settings and registry change durably
    ACTIVATE = "ACTIVATE"  # load beside what serves, warm up, golden answers
    CONFIRM = "CONFIRM"  # it stays
    HEAL = "HEAL"  # installed already, but content that rotted comes back
    ROLL_BACK = "ROLL_BACK"  # what was desired before is desired again
    REFUSE = "REFUSE"  # nothing was touched
    DONE = "DONE"


SUCCESSORS = MappingProxyType(
    {
        Step.OPEN: frozenset({Step.VERIFY, Step.REFUSE}),
        Step.VERIFY: frozenset({Step.PLAN, Step.REFUSE}),
        Step.PLAN: frozenset({Step.STAGE, Step.HEAL, Step.REFUSE}),
        Step.HEAL: frozenset({Step.DONE, Step.REFUSE}),
        Step.STAGE: frozenset({Step.COMMIT, Step.REFUSE}),
        Step.COMMIT: frozenset({Step.ACTIVATE, Step.ROLL_BACK}),
        Step.ACTIVATE: frozenset({Step.CONFIRM, Step.ROLL_BACK}),
        Step.CONFIRM: frozenset({Step.DONE}),
        Step.ROLL_BACK: frozenset({Step.DONE}),
        Step.REFUSE: frozenset({Step.DONE}),
        Step.DONE: frozenset[Step](),
    }
)


@dataclass(frozen=True, slots=True)
class UpdateProgress:
    """How far it is: `done` of `total`, in bytes or things of this step; total 0: not known."""

    step: str
    what: str
    done: int = 0
    total: int = 0


class UpdateRun:
    """Keeps to the table, reports each step, and stops where stopping leaves nothing half done."""

    def __init__(
        self, report: Callable[[UpdateProgress], None], stopping: threading.Event, first: Step = Step.OPEN
    ) -> None:
        """`report` is called on the installer's thread; `stopping` may be set by any."""
        self.step = first
        self.ticket: Ticket | None = None  # as soon as it is known
        self._report = report
        self._stopping = stopping

    def move(self, step: Step, what: str = "") -> None:
        """Go on to the next step."""
        assert step in SUCCESSORS[self.step], f"{self.step} -> {step}"
        self.step = step
        self._report(UpdateProgress(step.value, what))

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far this step is. Raises Cancelled if the appliance stops and the step can be done again."""
        if self._stopping.is_set() and self.step in (Step.VERIFY, Step.PLAN, Step.STAGE, Step.HEAL):
            raise Cancelled("the appliance is stopping", hint="the update goes on where it stopped: apply it again")
        self._report(UpdateProgress(self.step.value, what, done, total))
