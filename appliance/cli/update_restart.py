"""An update that brings software restarts the service: the command waits for how that ends, as a person would."""

import time
from dataclasses import replace

from appliance.bundle.refusal import Refusal
from appliance.cli.output import Advance
from appliance.errors import ApplianceError
from appliance.model.identity import Digest
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.ticket_records import TicketRecord, TicketState
from appliance.settings import Settings
from appliance.updates.activation import BY_OPERATOR
from appliance.updates.journal import Journal
from appliance.updates.outcome import INSTALLED, RESTARTING, ROLLED_BACK, UpdateOutcome

_LONGEST_S = 3600.0  # engines may have to be built for the new software
_LOOK_EVERY_S = 0.5
_WAITS_FOR_START = "systemctl restart appliance"  # the hint of an outcome that nobody brings about


def after_restart(settings: Settings, outcome: UpdateOutcome, advance: Advance) -> UpdateOutcome:
    """Wait for the end of an update whose software is being tried; other outcomes are returned as they are.

    An end that does not come within an hour is left to `appliance update status`.
    """
    if outcome.result != RESTARTING or outcome.hint == _WAITS_FOR_START:
        return outcome
    deadline = time.monotonic() + _LONGEST_S
    while time.monotonic() < deadline:
        advance("the service restarts with the other software, which is tried", 0, 1)
        record = _ended(settings, Digest(outcome.ticket_digest))
        if record is not None:
            return _outcome(outcome, record)
        time.sleep(_LOOK_EVERY_S)
    return outcome


def _ended(settings: Settings, digest: Digest) -> TicketRecord | None:
    """Read what became of the ticket; None while that is open, or the registry is between two softwares."""
    try:
        if Journal(settings.layout.updates).read() is not None:
            return None
        record = ModelRegistry.to_read(settings.layout).ticket(digest)
    except ApplianceError:
        return None
    return record if record is not None and record.state is not TicketState.TRIAL else None


def _outcome(before: UpdateOutcome, record: TicketRecord) -> UpdateOutcome:
    if record.state is TicketState.CONFIRMED:
        return replace(before, result=INSTALLED, message=f"ticket {record.id} is installed and serves", hint="")
    if record.reason == BY_OPERATOR:
        return replace(
            before, result=ROLLED_BACK, message=f"what served before ticket {record.id} serves again", hint=""
        )
    return replace(
        before,
        code=Refusal.TRIAL_FAILED_ROLLED_BACK.value,
        result=Refusal.TRIAL_FAILED_ROLLED_BACK.name,
        message=f"ticket {record.id} did not come up and was taken back: {record.reason}",
        hint="report the reason to the signing station",
        facts={"reason": record.reason},
    )
