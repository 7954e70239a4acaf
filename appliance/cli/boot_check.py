"""Whether the appliance came up after a start of the machine: for boot-complete.target, and for whoever asks."""

import time

from appliance.cli.client import connect_admin
from appliance.errors import ApplianceError, Failed
from appliance.model.lifecycle import UNLOADED
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.state_layout import StateLayout

_LOOK_EVERY_S = 1.0


def _ready(answer: pb.StatusResponse) -> str:
    """Say what serves. READY means that nothing more comes up by itself: what failed is told at once."""
    failed = [
        f"{model.name} {model.version}"
        for model in answer.models
        if model.state == "UNAVAILABLE" and model.reason != UNLOADED
    ]
    if failed:
        raise Failed(f"the appliance is READY, but does not serve {', '.join(failed)}", hint="appliance status")
    return f"READY, {len(answer.models)} model versions"


def require_up(layout: StateLayout, timeout_s: float) -> str:
    """Wait until the daemon is READY, and say what it serves. Raises Failed, with the last that was known."""
    deadline_s = time.monotonic() + timeout_s
    known = "it never answered"
    while True:
        try:
            with connect_admin(layout) as daemon:
                answer = daemon.status()
        except ApplianceError as error:
            known = error.message
        else:
            known = f"it is {answer.state}"
            if answer.state == "READY":
                return _ready(answer)
        if time.monotonic() > deadline_s:
            raise Failed(f"the appliance did not come up in {timeout_s:g} s: {known}", hint="appliance doctor")
        time.sleep(_LOOK_EVERY_S)
