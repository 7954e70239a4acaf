"""What a person changes on a sealed box is written down, like what a bundle changes."""

from appliance.hardware.conditions import conditions
from appliance.hardware.reader import read_once
from appliance.registry.seal import is_sealed
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent, AuditFact
from appliance.updates.audit_log import AuditLog
from appliance.updates.box import utc_now


def write_down(layout: StateLayout, event: AuditEvent, facts: dict[str, AuditFact]) -> None:
    """Append to the audit log if the box is sealed. Raises Failed."""
    if is_sealed(layout):
        AuditLog(layout.audit, utc_now).append(event, facts)


def write_activation(layout: StateLayout, facts: dict[str, AuditFact]) -> None:
    """Write down which version serves from now on, with the machine's power mode and what slows it down."""
    if is_sealed(layout):
        write_down(layout, AuditEvent.MODEL_ACTIVATED, facts | conditions(read_once(layout.root)))
