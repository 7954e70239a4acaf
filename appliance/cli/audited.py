"""What a person changes on a sealed box is written down, like what a bundle changes."""

from appliance.registry.seal import is_sealed
from appliance.settings import StateLayout
from appliance.updates.audit_entry import AuditEvent, AuditFact
from appliance.updates.audit_log import AuditLog
from appliance.updates.box import utc_now


def write_down(layout: StateLayout, event: AuditEvent, facts: dict[str, AuditFact]) -> None:
    """Append to the audit log if the box is sealed. Raises Failed."""
    if is_sealed(layout):
        AuditLog(layout.audit, utc_now).append(event, facts)
