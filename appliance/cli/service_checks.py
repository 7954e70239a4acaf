"""What `appliance doctor` says of an installed box: its service, credentials, software slots, owner and GPU's nodes.

Everything is found without the daemon. Roots and commands come in, so that a test can show every fault.
"""

import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from appliance.cli.check import Check, Result
from appliance.cli.service_status import ServiceStatus
from appliance.cli.state_checks import check_owner, hidden
from appliance.cli.unit_credentials import missing_credentials, unit_credentials, words_of
from appliance.errors import ApplianceError
from appliance.hardware.gpu_nodes import missing_nodes
from appliance.slots.record import SlotRecord
from appliance.slots.running import only_root_writes
from appliance.slots.store import SlotStore
from appliance.slots.tree import check_tree
from appliance.state_layout import StateLayout
from appliance.updates.trust_store import TrustStore

UNIT = "appliance.service"
_BOOTED = Path("/run/systemd/system")
_ASKED = (
    *("LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts"),
    *("User", "FragmentPath", "DropInPaths"),
)
_AGAIN = f"systemctl restart {UNIT}"
_MEANINGS = MappingProxyType(
    {
        ServiceStatus.SETTINGS: ("its settings are not valid", "correct them as the line 'settings' says, then: "),
        ServiceStatus.CANNOT_WRITE: (
            "the state directory cannot be written",
            "see the lines 'state' and 'owner', then: ",
        ),
        ServiceStatus.CREDENTIALS: (
            "systemd could not give it its credentials",
            "see the line 'credentials', and appliance logs; then: ",
        ),
        ServiceStatus.USAGE: (
            "its command line is not valid",
            "see which: systemctl cat appliance.service; then: ",
        ),
        ServiceStatus.STATE_UNUSABLE: ("its state cannot be understood", "see the line 'registry', then: "),
        ServiceStatus.START_AGAIN: ("something that it needs is taken or missing", "see: appliance logs; or: "),
    }
)

Ask = Callable[[], Mapping[str, str] | None]  # properties of the unit; None without systemd


def checks_of_service(layout: StateLayout, ask: Ask | None = None, root: Path = Path("/")) -> list[Check]:
    """Examine what an installation brought; no line for what this machine does not have."""
    unit = installed_unit(ask)
    return [
        *_check_unit(unit),
        *_check_credentials(unit),
        *_check_slots(layout),
        *check_owner(layout, service_user(unit)),
        *_check_gpu_nodes(root),
    ]


def installed_unit(ask: Ask | None = None) -> Mapping[str, str] | None:
    """Return the unit's properties; None without systemd, or where it does not know the unit."""
    found = (ask or ask_systemd)()
    return None if found is None or found.get("LoadState", "not-found") == "not-found" else found


def service_user(unit: Mapping[str, str] | None) -> str:
    """As whom the service runs; '' where no unit says so."""
    return "" if unit is None else unit.get("User", "") or "root"


def ask_systemd() -> Mapping[str, str] | None:
    """Ask for the unit's properties; None where no systemd runs."""
    if not _BOOTED.is_dir() or shutil.which("systemctl") is None:
        return None
    command = ["systemctl", "show", UNIT, f"--property={','.join(_ASKED)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines())


def _check_unit(found: Mapping[str, str] | None) -> list[Check]:
    if found is None:
        return []
    match found.get("ActiveState", ""):
        case "failed":
            return [_failed(found.get("ExecMainStatus", ""))]
        case "inactive":
            return [Check("service", Result.WARNING, "it was stopped", f"systemctl start {UNIT}")]
        case "activating" | "deactivating" as state if _loops(state, found):
            finding = f"it does not come up ({_ended(found)}) and is started again and again"
            return [Check("service", Result.ERROR, finding, "see why: appliance logs --level warning")]
        case state:
            return [_running(state, found)]


def _loops(state: str, found: Mapping[str, str]) -> bool:
    """Whether systemd starts it over and over, at whatever moment of that it was asked."""
    if found.get("SubState") == "auto-restart" or (state == "deactivating" and found.get("Result") != "success"):
        return True
    return state == "activating" and _restarts(found) > 1


def _restarts(found: Mapping[str, str]) -> int:
    count = found.get("NRestarts", "")
    return int(count) if count.isdecimal() else 0


def _ended(found: Mapping[str, str]) -> str:
    """How the last start ended, as far as systemd still knows."""
    result, status = found.get("Result", "success"), found.get("ExecMainStatus", "")
    if result == "success":
        return f"{_restarts(found)} restarts so far"
    if result == "exit-code" and status == "0":
        return "what its unit runs before it failed"
    return f"{result}, status {status}"


def _check_credentials(unit: Mapping[str, str] | None) -> list[Check]:
    """No line for a unit that names none."""
    if unit is None or not (named := unit_credentials(unit)):
        return []
    if missing := missing_credentials(unit):
        return [Check("credentials", Result.ERROR, *words_of(missing[0]))]
    return [Check("credentials", Result.OK, ", ".join(each.name for each in named))]


def _failed(status: str) -> Check:
    known = ServiceStatus(int(status)) if status.isdigit() and int(status) in set(ServiceStatus) else None
    meaning, first = f"it ended with status {status}", "see why: appliance logs; then: "
    if known is not None and known in _MEANINGS:
        meaning, first = _MEANINGS[known]
    return Check("service", Result.ERROR, f"it failed and does not start again: {meaning}", first + _AGAIN)


def _running(state: str, found: Mapping[str, str]) -> Check:
    if found.get("UnitFileState") not in ("enabled", "static", ""):
        finding = f"it is {state}, but does not start with the machine"
        return Check("service", Result.WARNING, finding, f"systemctl enable {UNIT}")
    if restarts := _restarts(found):
        return Check("service", Result.WARNING, f"{state}, after {restarts} restarts by itself", "appliance logs")
    return Check("service", Result.OK, f"{state}, starts with the machine")


def _check_slots(layout: StateLayout) -> list[Check]:
    store = SlotStore(layout.slots, layout.software)
    for directory in (layout.root, store.directory):
        if (check := hidden("slots", directory)) is not None:
            return [check]
    if not store.directory.is_dir():
        return []
    try:
        record = store.read()
    except ApplianceError as error:
        return [Check("slots", Result.ERROR, error.message, error.hint)]
    return [_broken_slots(store, record) or _exposed_slots(layout) or _state_of_slots(record)]


def _broken_slots(store: SlotStore, record: SlotRecord) -> Check | None:
    install = "bring software: appliance update apply MEDIUM"
    if not any(each.usable for each in record.slots.values()):
        reasons = "; ".join(f"{name}: {each.problem or 'empty'}" for name, each in record.slots.items())
        return Check("slots", Result.ERROR, f"neither can start: {reasons}", install)
    if problem := check_tree(store.path(record.current), record.slots[record.current].tree):
        return Check("slots", Result.ERROR, f"slot {record.current} is damaged: {problem}", install)
    return None


def _exposed_slots(layout: StateLayout) -> Check | None:
    """Slots are root's on an installed box, who has to know whose signatures decide about them."""
    if not layout.is_installed:
        return None
    if not only_root_writes(layout.software):
        finding = f"{layout.software} could be written by others than root, who does not run what lies there"
        remedy = f"chown -R root:root {layout.software}; chmod -R go-w {layout.software}"
        return Check("slots", Result.ERROR, finding, remedy)
    if layout.identity.exists() and not TrustStore(layout.anchor).is_provisioned:
        finding = "this box has an owner, but its installation knows no owner of software: no release can come"
        remedy = "as root, with the values of before: appliance provision --root root.json ..."
        return Check("slots", Result.WARNING, finding, remedy)
    return None


def _state_of_slots(record: SlotRecord) -> Check:
    running = f"software {record.slots[record.current].version} in slot {record.current}"
    trial, fallback = record.trial, record.fallback
    if trial is not None:
        finding = f"{running}; slot {trial.slot} is on trial, {trial.left} starts left"
        return Check("slots", Result.WARNING, finding, "wait for its end: appliance update status")
    if fallback is not None:
        finding = f"{running}; {fallback.version} in slot {fallback.slot} failed: {fallback.reason}"
        return Check("slots", Result.WARNING, finding, "report the reason to whoever made the stick")
    return Check("slots", Result.OK, f"{running}, whole")


def _check_gpu_nodes(root: Path) -> list[Check]:
    if not (root / "proc/driver/nvidia/version").exists() and not (root / "etc/nv_tegra_release").exists():
        return []
    if missing := missing_nodes(root):
        return [
            Check(
                "gpu nodes",
                Result.ERROR,
                f"the driver is there, but not {', '.join(missing)}",
                "see what the kernel says: journalctl -k | grep -i nvidia; load it: nvidia-modprobe -u -c 0",
            )
        ]
    return [Check("gpu nodes", Result.OK, "there")]
