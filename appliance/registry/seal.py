"""Whether a box is sealed: only signed bundles bring anything, and only what they brought is served."""

import os

from appliance.state_layout import StateLayout


def is_sealed(layout: StateLayout) -> bool:
    """Fails closed: whoever has trusted an owner stays sealed, even if the provisioning file is lost."""
    return any(os.path.lexists(path) for path in (layout.identity, layout.trust / "current"))
