"""A medium that was plugged in, or a bundle that was dropped: looked at by the box while nobody stands before it.

It is installed only if the operator's settings say so and the ticket names this very box: a bundle for all boxes, or
for a group, waits for a person.
"""

from dataclasses import replace
from pathlib import Path

from appliance.cli.output import Advance
from appliance.cli.update_asking import applied, inspected, with_receipt
from appliance.settings import SIGNED_FOR_THIS_DEVICE, Settings
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.preparation import ApplyRequest

NOT_ALLOWED = "it waits for a person: updates.auto_apply is 'never'"
NOT_FOR_THIS = "it waits for a person: its ticket does not name this box by its serial number"


def arrived(settings: Settings, place: Path, advance: Advance) -> UpdateOutcome:
    """Judge what has arrived, and install it where that is wanted. The outcome says why it was not installed."""
    outcome = inspected(settings, place, "")
    if outcome.code:
        return with_receipt(settings, place, outcome)
    waits = ""
    if settings.updates.auto_apply != SIGNED_FOR_THIS_DEVICE:
        waits = NOT_ALLOWED
    elif not outcome.for_this_device:
        waits = NOT_FOR_THIS
    if not waits:
        return applied(settings, ApplyRequest(place), advance)
    waiting = replace(outcome, message=f"{outcome.message}; {waits}", hint=f"appliance update apply {place}")
    return with_receipt(settings, place, waiting)
