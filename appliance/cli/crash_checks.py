"""What `appliance doctor` and `appliance status` say of versions that were executing when the service died."""

import time
from collections.abc import Sequence

from appliance.cli.check import Check, Result
from appliance.errors import ApplianceError
from appliance.registry.model_registry import ModelRegistry
from appliance.rpc.crash_message import add_crashes
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.settings import Settings


def checks_of_crashes(settings: Settings) -> list[Check]:
    """Examine what the registry remembers; no line where there is no registry, or where it cannot be read."""
    response = pb.StatusResponse()
    try:
        if not settings.layout.database.exists():
            return []
        add_crashes(response, ModelRegistry.to_read(settings.layout).crash_guard.crashed())
    except (ApplianceError, OSError):
        return []  # the check of the registry says it
    if not response.crashes:
        return [Check("crashes", Result.OK, "no version was executing when the service died")]
    return [_check(response.crashes)]


def _check(crashes: "Sequence[pb.CrashStatus]") -> Check:
    refused = [crash for crash in crashes if crash.refused]
    shown = (refused or list(crashes))[0]
    result = Result.ERROR if refused else Result.WARNING
    remedy = f"see why: appliance logs; let another version serve, or this one again: {shown.remedy}"
    return Check("crashes", result, "; ".join(map(crash_text, crashes)), remedy)


def crash_text(crash: "pb.CrashStatus") -> str:
    """Say in a line what is known of one version's crashes."""
    times = "once" if crash.count == 1 else f"{crash.count} times"
    last = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(crash.last_unix_s))
    what = "hung" if crash.hung == crash.count else "was executing"
    beside = " and ".join(f"{other.name} version {other.version}" for other in crash.beside)
    return (
        f"{crash.name} version {crash.version} {what} when the service died, {times}, last {last}"
        + (f", beside {beside}: any of them may be the cause" if beside else "")
        + ("; it is not loaded any more" if crash.refused else "")
    )
