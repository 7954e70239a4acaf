"""The end of an update: what is desired serves, and it stays; or it does not, and what was before is desired again.

Every line can be repeated: a crash anywhere here is followed by the same question at the next start. There is one
way back and no second try: what was before stays, even if it does not come up either.
"""

import logging
from typing import Any

from appliance.bundle.refusal import Refusal
from appliance.errors import ApplianceError
from appliance.registry.ticket_records import TicketRecord, TicketState
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.box import Box
from appliance.updates.gate import Gate
from appliance.updates.outcome import INSTALLED, ROLLED_BACK, UpdateOutcome
from appliance.updates.update_run import Step, UpdateRun

logger = logging.getLogger(__name__)

BY_OPERATOR = "rolled back by the operator"


class Activation:
    """Asks the gate and obeys."""

    def __init__(self, box: Box, gate: Gate) -> None:
        self._box = box
        self._gate = gate

    def judge(self, record: TicketRecord, run: UpdateRun) -> UpdateOutcome:
        """Keep what the ticket brought if it serves, else take it back. Raises Cancelled if the appliance stops."""
        run.move(Step.ACTIVATE, ", ".join(record.desired))
        problems = self._gate.settle(record.desired)
        found = [f"{name}: {problem}" for name, problem in sorted(problems.items())]
        if record.changes_settings and (unusable := self._gate.settings_problem()):
            found.append(unusable)
        if found:
            reason = "; ".join(found)
            return self.take_back(record, reason, run)
        run.move(Step.CONFIRM)
        self._box.registry.finish_ticket(record.digest, TicketState.CONFIRMED, "")
        needs_restart = self._apply_settings() if record.changes_settings else ()
        return self.confirmed(record, needs_restart)

    def confirmed(self, record: TicketRecord, needs_restart: tuple[str, ...] = ()) -> UpdateOutcome:
        """Write down that it stays."""
        self._box.audit.append(AuditEvent.UPDATE_INSTALLED, {**_about(record), **self._box.conditions()})
        self._box.journal.close()
        return UpdateOutcome(
            0, INSTALLED, f"ticket {record.id} is installed and serves", needs_restart=needs_restart, **_named(record)
        )

    def take_back(self, record: TicketRecord, reason: str, run: UpdateRun) -> UpdateOutcome:
        """Let serve again what was desired before the ticket."""
        if record.state not in (TicketState.TRIAL, TicketState.CONFIRMED):
            return self.taken_back(record, record.reason)
        if run.step is not Step.ROLL_BACK:
            run.move(Step.ROLL_BACK, reason)
        self._box.registry.restore(record.digest, reason)
        return self.taken_back(record, reason)

    def taken_back(self, record: TicketRecord, reason: str) -> UpdateOutcome:
        """Finish a way back that the registry knows of."""
        self._box.site.undo(record.settings_before, record.settings_after)
        problems = self._gate.settle(record.previous)
        if record.changes_settings:
            self._apply_settings()
        self._box.audit.append(AuditEvent.UPDATE_ROLLED_BACK, _about(record) | {"reason": reason})
        self._box.journal.close()
        still = "; ".join(f"{name}: {problem}" for name, problem in sorted(problems.items()))
        if reason == BY_OPERATOR and not still:
            return UpdateOutcome(
                0, ROLLED_BACK, f"what served before ticket {record.id} serves again", **_named(record)
            )
        serving = f"; and what was before is not all served either: {still}" if still else ", what was before serves"
        return UpdateOutcome(
            Refusal.TRIAL_FAILED_ROLLED_BACK.value,
            Refusal.TRIAL_FAILED_ROLLED_BACK.name,
            f"ticket {record.id} did not come up and was taken back: {reason}{serving}"
            if reason != BY_OPERATOR
            else f"ticket {record.id} was taken back{serving}",
            hint="appliance status" if still else "report the reason to the signing station",
            facts={"reason": reason},
            **_named(record),
        )

    def _apply_settings(self) -> tuple[str, ...]:
        """Put settings in force. What hinders that is no reason to leave the update open."""
        try:
            return self._gate.apply_settings()
        except ApplianceError as error:
            logger.error("the site's settings count from the next start on: %s", error)  # noqa: TRY400
            return ("all of them, because the settings could not be read: " + error.message,)


def _about(record: TicketRecord) -> dict[str, str | int]:
    return {"ticket": record.id, "seq": record.seq, "digest": record.digest}


def _named(record: TicketRecord) -> dict[str, Any]:
    return {"ticket_id": record.id, "ticket_seq": record.seq, "ticket_digest": record.digest}
