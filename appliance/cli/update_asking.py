"""How the command line gets an update done: by the daemon if one runs, else here. One installer either way."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.cli.client import AdminClient, connect_admin
from appliance.cli.exit_codes import DaemonUnreachable, WrongUsage
from appliance.cli.output import Advance, say
from appliance.cli.update_restart import after_restart
from appliance.daemon.offline_updates import Work, run_offline
from appliance.daemon.update_room import has_gpu
from appliance.errors import Busy, Failed
from appliance.registry.model_registry import ModelRegistry
from appliance.rpc.pb import appliance_admin_pb2 as pb
from appliance.settings import Settings
from appliance.updates.box import Box
from appliance.updates.kept_receipts import KeptReceipts
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.preparation import ApplyRequest, inspect
from appliance.updates.update_run import UpdateProgress

_LOCAL_CONSOLE = re.compile(r"/dev/(console|tty[0-9A-Z]+[0-9]*|tty[A-Za-z]+[0-9]+)")

_WORDS = MappingProxyType(
    {
        "OPEN": "looking for the bundle",
        "VERIFY": "checking signatures",
        "PLAN": "checking whether it is for this box",
        "STAGE": "copying",
        "COMMIT": "writing it down",
        "ACTIVATE": "loading and trying beside what serves",
        "CONFIRM": "confirmed",
        "HEAL": "looking for damaged content",
        "ROLL_BACK": "taking it back",
        "REFUSE": "refused",
    }
)


def applied(settings: Settings, request: ApplyRequest, advance: Advance) -> UpdateOutcome:
    """Install a medium's bundle. Raises an ApplianceError if it could not be tried."""
    asked = pb.ApplyUpdateRequest(
        place=str(request.place),
        bundle=request.bundle,
        allow_expired=request.allow_expired,
        retry=request.retry,
        no_receipt=request.no_receipt,
    )
    outcome = _done(settings, lambda daemon: daemon.apply_update(asked), lambda works: works.apply(request), advance)
    outcome = after_restart(settings, outcome, advance)
    return outcome if request.no_receipt else _delivered(settings, request.place, outcome)


def rolled_back(settings: Settings, advance: Advance) -> UpdateOutcome:
    """Take the last update back. Raises an ApplianceError if it could not be tried."""
    outcome = _done(settings, AdminClient.roll_back_update, lambda works: works.roll_back(), advance)
    return after_restart(settings, outcome, advance)


def inspected(settings: Settings, place: Path, bundle: str) -> UpdateOutcome:
    """Judge a medium without a daemon and without the right to write."""
    registry = ModelRegistry.to_read(settings.layout)
    return inspect(Box.of(settings, registry, has_gpu=has_gpu), ApplyRequest(place, bundle))


def require_local_console() -> None:
    """Let only a person who stands before the box go on. Raises WrongUsage."""
    try:
        terminal = os.ttyname(sys.stdin.fileno())
    except (OSError, ValueError):
        terminal = "no terminal"
    if not _LOCAL_CONSOLE.fullmatch(terminal):
        raise WrongUsage(
            f"--allow-expired is for an operator at the box's own console, this is {terminal}",
            hint="log in at the screen or the serial console of the box, or ask for a new bundle",
        )


# Models and engines belong to the service; root running them would give root to whoever has taken the service over.
_NOT_AS_ROOT = (
    "start it: systemctl start appliance, which takes updates even if no slot can run; if it does not start: "
    "appliance doctor"
)


def _done(
    settings: Settings,
    by_daemon: Callable[[AdminClient], Iterable[pb.UpdateEvent]],
    here: Work,
    advance: Advance,
) -> UpdateOutcome:
    steps = _Steps(advance)
    try:
        with connect_admin(settings.layout) as daemon:
            return _followed(by_daemon(daemon), steps)
    except DaemonUnreachable as error:
        if settings.layout.admin_socket.exists() and not os.access(settings.layout.admin_socket, os.W_OK):
            raise
        if settings.layout.is_installed and os.geteuid() == 0:
            raise DaemonUnreachable(error.message, hint=_NOT_AS_ROOT) from error
        say(f"no daemon runs ({error.message}): doing it here")
    try:
        return run_offline(settings, here, steps.show)
    except Busy as error:
        busy = UpdateRefused(Refusal.BUSY, error.message, hint="wait for it, then try again: appliance update status")
        return UpdateOutcome.of_refusal(busy)


def with_receipt(settings: Settings, place: Path, outcome: UpdateOutcome) -> UpdateOutcome:
    """Say on the medium what the box says of it; one that takes nothing now leaves that to the next."""
    registry = ModelRegistry.to_read(settings.layout)
    told = Box.of(settings, registry, has_gpu=has_gpu).with_receipt(outcome, place)
    return _delivered(settings, place, told)


def _delivered(settings: Settings, place: Path, outcome: UpdateOutcome) -> UpdateOutcome:
    """Put on the medium what the daemon may not write there; whoever types this may."""
    try:
        delivered = KeptReceipts(settings.layout.receipts).deliver(place).paths
    except Failed as error:
        return replace(outcome, receipt_problem=outcome.receipt_problem or error.message)
    return replace(outcome, receipt=delivered[-1], receipt_problem="") if delivered else outcome


def _followed(events: Iterable[pb.UpdateEvent], steps: "_Steps") -> UpdateOutcome:
    for event in events:
        if event.WhichOneof("event") == "result":
            return UpdateOutcome.from_document(json.loads(event.result))
        progress = event.progress
        steps.show(UpdateProgress(progress.step, progress.what, progress.done, progress.total))
    raise Failed("the daemon ended without saying how the update went", hint="appliance update status")


class _Steps:
    """Shows progress: each step in words, long ones with a bar."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance

    def show(self, progress: UpdateProgress) -> None:
        """Show one event."""
        words = _WORDS.get(progress.step, progress.step.lower())
        what = f"{words}: {progress.what}" if progress.what else words
        self._advance(what, progress.done, progress.total or 1)
