"""The end of an update that brings software: the service restarts, and the new software judges itself.

The record of the slots decides; the registry and the log follow it. Every line can be repeated: whichever software
starts next asks what became of the ticket, and goes on from there.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from appliance.bundle.refusal import Refusal
from appliance.errors import Failed
from appliance.model.identity import ModelName
from appliance.registry.ticket_records import TicketRecord, TicketState
from appliance.updates.activation import BY_OPERATOR, Activation
from appliance.updates.box import Box
from appliance.updates.gate import Gate
from appliance.updates.journal import OpenUpdate
from appliance.updates.outcome import RESTARTING, UpdateOutcome
from appliance.updates.software_slots import Verdict
from appliance.updates.update_run import Step, UpdateProgress, UpdateRun

Report = Callable[[UpdateProgress], None]


class SoftwareActivation:
    """Asks the slots what became of a ticket, and the gate whether this software may stay."""

    def __init__(self, box: Box, gate: Gate, activation: Activation) -> None:
        self._box = box
        self._gate = gate
        self._activation = activation

    def go_on(self, record: TicketRecord, run: UpdateRun) -> UpdateOutcome:
        """Take a ticket that is installed one step further: to a restart, or to its end. Raises Cancelled, Failed."""
        match self._box.slots.verdict(record.digest):
            case Verdict.FILLED:
                live = tuple(sorted({*self._gate.live(), *record.desired}))
                self._box.slots.arm(record.digest, live)
                return self._restarting(record)
            case Verdict.WAITING:
                return self._restarting(record)
            case Verdict.ON_TRIAL:
                return self._judged(record, run)
            case Verdict.KEPT:
                return self._kept(record, run)
            case Verdict.FAILED:
                return self._activation.take_back(record, self._box.slots.reason, run)

    def finish(
        self, update: OpenUpdate, record: TicketRecord, report: Report, stopping: threading.Event
    ) -> UpdateOutcome:
        """Go on with an update that a restart, or a power cut, interrupted; its receipt is written at its end."""
        if update.stage == "ROLL_BACK":
            outcome = self.go_back(record, UpdateRun(report, stopping, Step.ROLL_BACK))
        else:
            outcome = self.go_on(record, UpdateRun(report, stopping, Step.COMMIT))
        if self._box.journal.read() is not None:
            return outcome  # the next start ends it
        return self._box.with_receipt(outcome, Path(update.place) if update.place else None)

    def begin_going_back(self, record: TicketRecord, run: UpdateRun) -> UpdateOutcome:
        """Let the software before run again. Raises Failed if it is not there any more; then nothing changes."""
        tree = self._box.slots.current_tree
        self._box.journal.write(OpenUpdate.of("ROLL_BACK", record, software=tree))
        try:
            return self.go_back(record, run)
        except Failed:
            self._box.journal.close()
            raise

    def go_back(self, record: TicketRecord, run: UpdateRun) -> UpdateOutcome:
        """Take a ticket back because an operator wants it; the software before finishes that."""
        if self._box.slots.verdict(record.digest) is Verdict.FAILED:
            return self._activation.take_back(record, BY_OPERATOR, run)
        self._box.slots.back(BY_OPERATOR)
        return self._restarting(record)

    def judge_installed(self) -> str:
        """Judge software that an installation put on trial, without any ticket; says why it may not stay, or ''."""
        on_trial = self._box.slots.on_trial
        assert on_trial is not None
        assert on_trial.trial is not None
        reason = self._problem(tuple(map(ModelName, on_trial.trial.live)))
        if reason:
            self._box.slots.refuse(reason)
            self._gate.restart()
        else:
            self._box.slots.keep()
        return reason

    def _judged(self, record: TicketRecord, run: UpdateRun) -> UpdateOutcome:
        on_trial = self._box.slots.on_trial
        assert on_trial is not None
        assert on_trial.trial is not None
        run.move(Step.ACTIVATE, "the new software")
        reason = self._problem((*map(ModelName, on_trial.trial.live), *record.desired))
        if not reason and record.changes_settings:
            reason = self._gate.settings_problem()
        if reason:
            self._box.slots.refuse(reason)
            self._gate.restart()
            return UpdateOutcome(
                Refusal.TRIAL_FAILED_ROLLED_BACK.value,
                Refusal.TRIAL_FAILED_ROLLED_BACK.name,
                f"the software of ticket {record.id} failed its trial: {reason}; the software before starts again",
                hint="report the reason to the signing station",
                facts={"reason": reason},
                ticket_id=record.id,
                ticket_seq=record.seq,
                ticket_digest=record.digest,
            )
        self._box.slots.keep()
        return self._kept(record, run)

    def _kept(self, record: TicketRecord, run: UpdateRun) -> UpdateOutcome:
        if run.step is Step.COMMIT:
            run.move(Step.ACTIVATE)
        run.move(Step.CONFIRM)
        if record.state is TicketState.TRIAL:
            self._box.registry.finish_ticket(record.digest, TicketState.CONFIRMED, "")
        return self._activation.confirmed(record)

    def _problem(self, names: tuple[ModelName, ...]) -> str:
        """Say why this software may not stay: a model that served does not, or nobody answers at the door."""
        if not self._box.slots.became_ready:
            return "systemd has not heard that it is ready"
        problems: Mapping[ModelName, str] = self._gate.settle(names)
        found = [f"{name}: {problem}" for name, problem in sorted(problems.items())]
        answer = self._gate.self_call()
        return "; ".join([*found, answer] if answer else found)

    def _restarting(self, record: TicketRecord) -> UpdateOutcome:
        will = self._gate.restart()
        return UpdateOutcome(
            0,
            RESTARTING,
            f"ticket {record.id}: the service restarts with the other software"
            if will
            else f"ticket {record.id}: the next start of the service runs the other software",
            hint="appliance update status" if will else "systemctl restart appliance",
            ticket_id=record.id,
            ticket_seq=record.seq,
            ticket_digest=record.digest,
        )
