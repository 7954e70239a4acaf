"""What `appliance doctor` says of signed updates: seal and trust, the log, an open update, the clock."""

from appliance.bundle.moments import moment_text
from appliance.cli.check import Check, Result
from appliance.cli.state_checks import hidden
from appliance.daemon.update_room import has_gpu
from appliance.errors import ApplianceError
from appliance.registry.model_registry import ModelRegistry
from appliance.settings import Settings
from appliance.updates.box import Box, DeviceFacts


def checks_of_updates(settings: Settings | None) -> list[Check]:
    """Examine a sealed box; one line on a box that is not."""
    if settings is None:
        return []
    if (check := hidden("seal", settings.layout.root)) is not None:
        return [check]
    box = Box.of(settings, ModelRegistry.to_read(settings.layout), has_gpu=has_gpu)
    try:
        facts = box.device_facts()
    except ApplianceError as error:
        return [Check("seal", Result.ERROR, error.message, error.hint)]
    if facts is None:
        return [Check("seal", Result.OK, "not sealed: whoever may use this box may add models (appliance provision)")]
    return [_check_seal(facts), _check_audit(box), _check_open_update(box), _check_floor(box)]


def _check_seal(facts: DeviceFacts) -> Check:
    if facts.root is None:
        return Check(
            "seal", Result.ERROR, facts.problem, "keep a copy of the state directory, and call the owner of the box"
        )
    identity = facts.identity
    return Check(
        "seal", Result.OK, f"{identity.serial} at {identity.site}, trusts root {facts.root.version} of its owner"
    )


def _check_audit(box: Box) -> Check:
    try:
        findings, head = box.audit.verify(), box.audit.head()
    except ApplianceError as error:
        return Check("audit log", Result.ERROR, error.message, error.hint)
    if findings:
        return Check("audit log", Result.ERROR, findings[0], "see all of it: appliance audit verify")
    return Check("audit log", Result.OK, f"whole, entry {head.seq}, head {head.short}")


def _check_open_update(box: Box) -> Check:
    try:
        update = box.journal.read()
    except ApplianceError as error:
        return Check("update", Result.ERROR, error.message, error.hint)
    if update is None:
        return Check("update", Result.OK, "none is open")
    return Check(
        "update",
        Result.WARNING,
        f"ticket {update.ticket_id} is being installed, or was cut off",
        "the daemon finishes it when it starts; or insert the stick again: appliance update apply MEDIUM",
    )


def _check_floor(box: Box) -> Check:
    judged = box.clock.judge()
    if judged.suspect:
        return Check(
            "clock floor",
            Result.WARNING,
            f"the clock says {moment_text(judged.clock)}, but it is certainly not before {moment_text(judged.floor)}",
            "set the clock: timedatectl set-time",
        )
    return Check("clock floor", Result.OK, f"not before {moment_text(judged.floor)}")
