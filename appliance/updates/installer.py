"""Installs bundles and takes them back: the only place where an update changes the box.

Order, and what a crash leaves (each line is durable before the next begins; update_run.py has the table of steps):

    new roots of trust       kept at once: a revocation sticks even if the rest of the bundle is bad
    journal: STAGE           recovery forgets the update; what was staged waits for the next attempt
    content in the blobs     nothing refers to it yet
    journal: COMMIT          recovery goes on from what the registry knows of the ticket
    trust generation         the same bundle can be applied again, older ones are refused
    settings, registry       one transaction: versions, what is desired, the ticket on TRIAL
    CONFIRMED, ROLLED_BACK   one transaction
    audit, then the journal  goes last

Ownership: at most one update at a time, on one thread; only who holds the daemon's lock may have an Installer.
"""

import threading
from collections.abc import Callable
from dataclasses import replace

from appliance.bundle.moments import moment_text
from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.model.identity import Digest, ModelName
from appliance.registry.part_assembly import forget_partial
from appliance.registry.records import RegisteredVersion
from appliance.registry.ticket_records import TicketRecord, TicketState
from appliance.updates.activation import BY_OPERATOR, Activation
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.box import Box
from appliance.updates.gate import Gate
from appliance.updates.healing import heal
from appliance.updates.journal import OpenUpdate
from appliance.updates.medium import Medium
from appliance.updates.outcome import HEALED, ROLLED_BACK, UpdateOutcome
from appliance.updates.plan import Plan
from appliance.updates.preparation import ApplyRequest, Preparation, Prepared, summary
from appliance.updates.site_settings import digest_of_settings
from appliance.updates.software_activation import SoftwareActivation
from appliance.updates.software_slots import Verdict
from appliance.updates.staging import Staging, TrialFailed
from appliance.updates.trial_record import signed_versions, trial_record
from appliance.updates.update_run import Step, UpdateProgress, UpdateRun

Report = Callable[[UpdateProgress], None]


class Installer:
    """One box's updates."""

    def __init__(self, box: Box, gate: Gate) -> None:
        self._box = box
        self._activation = Activation(box, gate)
        self._software = SoftwareActivation(box, gate, self._activation)
        self._gate = gate
        self._turn = threading.Lock()

    def apply(self, request: ApplyRequest, report: Report, stopping: threading.Event) -> UpdateOutcome:
        """Install a medium's bundle. A refusal is an outcome.

        Raises Cancelled (the appliance stops; nothing is lost) or Failed (this box's own disk).
        """
        if not self._turn.acquire(blocking=False):
            return UpdateOutcome.of_refusal(busy())
        try:
            self._box.identity()
            self.finish_open(report, stopping)
            if self._box.journal.read() is not None:  # it waits for a restart
                return UpdateOutcome.of_refusal(busy())
            self._box.trust.recover()
            outcome = self._opened(request, UpdateRun(report, stopping))
            return self._box.with_receipt(outcome, None if request.no_receipt else request.place)
        except UpdateRefused as refused:  # nobody has provisioned this box, or its trust is damaged
            return UpdateOutcome.of_refusal(refused)
        finally:
            self._turn.release()

    def roll_back(self, report: Report, stopping: threading.Event) -> UpdateOutcome:
        """Let serve again what served before the last update that stayed. Raises as `apply`."""
        if not self._turn.acquire(blocking=False):
            return UpdateOutcome.of_refusal(busy())
        try:
            finished = self.finish_open(report, stopping)
            if finished is not None and finished.result == ROLLED_BACK:
                return finished  # asked for once, before a power cut: not a second step back
            record = self._newest(TicketState.CONFIRMED)
            if record is None:
                return UpdateOutcome.of_refusal(_nothing_to_take_back())
            run = UpdateRun(report, stopping, Step.ACTIVATE)
            run.move(Step.ROLL_BACK, record.id)
            if self._box.slots.verdict(record.digest) is Verdict.KEPT:
                return self._software.begin_going_back(record, run)
            self._box.journal.write(OpenUpdate.of("ROLL_BACK", record))
            return self._activation.take_back(record, BY_OPERATOR, run)
        except UpdateRefused as refused:  # this box's trust is damaged
            return UpdateOutcome.of_refusal(refused)
        finally:
            self._turn.release()

    def recover(self) -> None:
        """Put in order what a crash left, before any model is loaded. What is on TRIAL stays for `finish_open`."""
        self._recover_journal()
        self._box.trust.recover()

    def _recover_journal(self) -> None:
        self._box.audit.recover()
        update = self._box.journal.read()
        if update is not None and self._begun(update) is None:
            self._box.site.undo(update.settings_before, update.settings_after)
            self._box.audit.append(AuditEvent.UPDATE_RECOVERED, {"ticket": update.ticket_id, "seq": update.seq})
            self._box.journal.close()

    def finish_open(self, report: Report, stopping: threading.Event) -> UpdateOutcome | None:
        """Finish an update that a crash cut off, when what is desired has been loaded; None if there is none.

        Needs no trust: what was accepted once is finished, or taken back, whatever became of that since.
        """
        self._recover_journal()
        update = self._box.journal.read()
        if update is None:
            return None
        record = self._begun(update)
        assert record is not None, "recover closes the others"
        if update.software:
            return self._software.finish(update, record, report, stopping)
        if record.state is TicketState.TRIAL:
            return self._activation.judge(record, UpdateRun(report, stopping, Step.COMMIT))
        if record.state is not TicketState.CONFIRMED:
            return self._activation.taken_back(record, record.reason)
        if update.stage == "ROLL_BACK":
            run = UpdateRun(report, stopping, Step.ROLL_BACK)
            return self._activation.take_back(record, BY_OPERATOR, run)
        return self._activation.confirmed(record)

    def judge_installed(self) -> str:
        """Judge software that came without a ticket, by an installation; says why it may not stay, or ''."""
        return self._software.judge_installed()

    def _opened(self, request: ApplyRequest, run: UpdateRun) -> UpdateOutcome:
        try:
            with Medium.open(request.place, request.bundle) as medium:
                return self._applied(medium, request, run)
        except UpdateRefused as refused:
            return self._refused(refused, run)

    def _applied(self, medium: Medium, request: ApplyRequest, run: UpdateRun) -> UpdateOutcome:
        preparation = Preparation(self._box, medium, request, keep_roots=True)
        staging = Staging(self._box, medium, run)
        run.move(Step.VERIFY, medium.name)
        root = self._box.trust.root().version
        with preparation.verified() as (bundle, late):
            self._audit_new_root(root)
            run.ticket = bundle.ticket
            run.move(Step.PLAN, bundle.ticket.id)
            try:
                prepared = preparation.plan(bundle, late=late)
            except UpdateRefused as refused:
                if refused.reason is Refusal.NOTHING_TO_DO:
                    return self._healed(
                        preparation.read_plan(bundle, self._box.identity().site), staging, refused, run
                    )
                raise
            outcome = summary(prepared)
            record = self._committed(prepared, staging, run)
        judged = (self._software.go_on if outcome.software else self._activation.judge)(record, run)
        brought = {name: getattr(outcome, name) for name in ("models", "settings", "skipped", "software")}
        return replace(judged, **brought)

    def _healed(self, plan: Plan, staging: Staging, nothing_to_do: UpdateRefused, run: UpdateRun) -> UpdateOutcome:
        """Installed already: but what rotted since comes back."""
        run.move(Step.HEAL)
        names = heal(self._box, plan, staging)
        if plan.settings is not None and self._box.site.sha256 != digest_of_settings(plan.settings.data):
            self._box.site.replace(plan.settings.data)
            names.append(ModelName("the site's settings"))
        if not names:
            raise nothing_to_do
        problems = self._gate.settle(names)
        message = f"{nothing_to_do.message}; content of {', '.join(names)} that was damaged has come back"
        if problems:
            message += "; not served: " + "; ".join(f"{name}: {why}" for name, why in sorted(problems.items()))
        return UpdateOutcome(0, HEALED, message, ticket_id=plan.ticket.id, ticket_seq=plan.ticket.seq)

    def _committed(self, prepared: Prepared, staging: Staging, run: UpdateRun) -> TicketRecord:
        plan = prepared.plan
        record = trial_record(self._box, prepared)
        self._audit_acceptance(prepared)
        run.move(Step.STAGE, f"{len(plan.missing)} files")
        self._box.journal.write(OpenUpdate.of("STAGE", record, plan.files))
        forget_partial(self._box.layout.partial_blobs, keep=plan.files)
        staging.bring(plan.files, plan.stage_bytes)
        versions = self._tried(staging, plan, record)
        run.move(Step.COMMIT)
        tree = plan.software.item.tree if plan.software is not None else ""
        self._box.journal.write(OpenUpdate.of("COMMIT", record, plan.files, software=tree, place=prepared.place))
        prepared.bundle.commit()
        self._box.clock.accepted(plan.ticket.issued_at)
        if plan.settings is not None and record.changes_settings:
            self._box.site.replace(plan.settings.data)
        self._box.registry.install(versions, signed_versions(self._box, prepared), plan.desired, record)
        return record

    def _tried(self, staging: Staging, plan: Plan, record: TicketRecord) -> list[RegisteredVersion]:
        """Try what arrived; a ticket that fails here is remembered, so that nothing tries it again by itself."""
        try:
            if plan.software is not None:
                staging.fill_slot(plan.software)
            return staging.try_models(plan)
        except TrialFailed as failed:
            self._box.registry.refuse_ticket(record, failed.message)
            self._box.audit.append(AuditEvent.UPDATE_FAILED, {"ticket": record.id, "reason": failed.message})
            raise UpdateRefused(
                Refusal.TRIAL_FAILED_ROLLED_BACK,
                f"ticket {record.id} does not work on this box: {failed.message}; nothing was changed",
                hint="report the reason to the signing station",
                facts={"reason": failed.message},
            ) from failed

    def _refused(self, refused: UpdateRefused, run: UpdateRun) -> UpdateOutcome:
        run.move(Step.REFUSE, refused.reason.name)
        facts: dict[str, str | int] = {"class": refused.reason.name, "reason": refused.message}
        if run.ticket is not None:
            facts |= {"ticket": run.ticket.id, "seq": run.ticket.seq}
        self._box.audit.append(AuditEvent.UPDATE_REFUSED, facts)
        self._box.journal.close()
        outcome = UpdateOutcome.of_refusal(refused)
        if run.ticket is None:
            return outcome
        return replace(outcome, ticket_id=run.ticket.id, ticket_seq=run.ticket.seq)

    def _audit_new_root(self, before: int) -> None:
        now = self._box.trust.root()
        if now.version != before:
            facts: dict[str, str | int] = {"from": before, "to": now.version, "fingerprint": now.fingerprint}
            self._box.audit.append(AuditEvent.ROOT_ROTATED, facts)

    def _audit_acceptance(self, prepared: Prepared) -> None:
        ticket = prepared.plan.ticket
        about: dict[str, str | int] = {"ticket": ticket.id, "seq": ticket.seq}
        judged = self._box.clock.judge()
        if judged.suspect:
            times = {"clock": moment_text(judged.clock), "floor": moment_text(judged.floor)}
            self._box.audit.append(AuditEvent.CLOCK_UNVERIFIED, about | times)
        if prepared.late:
            self._box.audit.append(AuditEvent.UPDATE_EXPIRY_WAIVED, about | {"install_by": ticket.install_by})
        self._box.audit.append(AuditEvent.UPDATE_ACCEPTED, about | {"digest": prepared.bundle.ticket_digest})

    def _begun(self, update: OpenUpdate) -> TicketRecord | None:
        """Return what the registry knows of the open update, if it got so far."""
        record = self._box.registry.ticket(Digest(update.ticket_digest))
        return record if record is not None and update.stage != "STAGE" else None

    def _newest(self, state: TicketState) -> TicketRecord | None:
        found = [record for record in self._box.registry.tickets() if record.state is state]
        return max(found, key=lambda record: record.seq, default=None)


def busy() -> UpdateRefused:
    """Refuse a second update beside the one that goes on."""
    return UpdateRefused(
        Refusal.BUSY,
        "an update is going on already",
        hint="follow it with: appliance update status",
    )


def _nothing_to_take_back() -> UpdateRefused:
    return UpdateRefused(
        Refusal.NOTHING_TO_DO,
        "there is no update that could be taken back",
        hint="see which versions are here: appliance models list; serve one: appliance models activate NAME VERSION",
    )
