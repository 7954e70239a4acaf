"""What an accepted bundle writes into the registry: the ticket on trial, and who signed each version."""

from appliance.bundle.oci_layers import digest_of_bytes
from appliance.registry.signed_versions import SignedVersion
from appliance.registry.ticket_records import TicketRecord, TicketState
from appliance.updates.box import Box
from appliance.updates.preparation import Prepared
from appliance.updates.site_settings import digest_of_settings


def trial_record(box: Box, prepared: Prepared) -> TicketRecord:
    """Describe the ticket, with what serves now and what shall."""
    plan, before = prepared.plan, box.site.sha256
    return TicketRecord(
        seq=plan.ticket.seq,
        id=plan.ticket.id,
        digest=prepared.bundle.ticket_digest,
        state=TicketState.TRIAL,
        reason="",
        items=tuple(item.path for item in plan.ticket.items),
        previous=box.registry.desired(plan.desired),
        desired=plan.desired,
        accepted_at=box.now().timestamp(),
        finished_at=None,
        settings_before=before,
        settings_after=digest_of_settings(plan.settings.data) if plan.settings is not None else before,
    )


def signed_versions(box: Box, prepared: Prepared) -> list[SignedVersion]:
    """Name the target and the ticket that vouch for each version."""
    now = box.now().timestamp()
    return [
        SignedVersion(
            name=model.item.name,
            version=model.item.version,
            target=model.target.path,
            item_digest=digest_of_bytes(model.data),
            ticket_digest=prepared.bundle.ticket_digest,
            accepted_at=now,
        )
        for model in prepared.plan.models
    ]
