"""What rotted on this box comes back from a bundle that carries it: signed, hashed, and without a new ticket."""

from appliance.model.identity import ModelName
from appliance.updates.audit_entry import AuditEvent
from appliance.updates.box import Box
from appliance.updates.plan import Plan
from appliance.updates.staging import Staging


def heal(box: Box, plan: Plan, staging: Staging) -> list[ModelName]:
    """Bring content that is gone, of versions that are registered. Returns the models that it belongs to.

    Raises UpdateRefused if the medium does not hold it either.
    """
    registered = {(name, version) for name, versions in box.registry.digests().items() for version in versions}
    models = [model for model in plan.models if (model.item.name, model.item.version) in registered]
    for model in models:
        box.registry.keep_documents(model.item)
    wanted = {digest: file for model in models for digest, file in model.missing.items()}
    if not wanted:
        return []
    staging.bring(wanted, sum(file.size_bytes for file in wanted.values()))
    box.registry.healed(wanted)
    names = sorted({model.item.name for model in models if model.missing.keys() & wanted.keys()})
    box.audit.append(AuditEvent.CONTENT_HEALED, {"models": ", ".join(names), "files": len(wanted)})
    return names
