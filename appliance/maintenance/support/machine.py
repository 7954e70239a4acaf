"""The machine around the software: versions, systemd's units, disks and memory. Never the name of the host."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from appliance import RELEASED, __version__
from appliance.bundle.moments import moment_text
from appliance.errors import ApplianceError, Failed
from appliance.maintenance.support.part import Content, json_content
from appliance.maintenance.support.wording import Wording
from appliance.slots.places import Places
from appliance.slots.store import SlotStore
from appliance.slots.tree import read_software
from appliance.state_layout import StateLayout

_PACKAGES = (
    *("onnxruntime", "onnxruntime-gpu", "numpy", "grpcio", "protobuf", "pydantic", "cryptography", "tuf", "psutil"),
    *("securesystemslib", "tensorrt-cu13", "tensorrt-rtx-cu13", "typer", "rich", "pillow"),
)
_OS_FIELDS = ("NAME", "VERSION", "VERSION_ID", "ID", "PRETTY_NAME", "VERSION_CODENAME")
_UNIT_FACTS = (
    *("Id", "LoadState", "UnitFileState", "ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus"),
    *("NRestarts", "StatusText", "InvocationID", "ActiveEnterTimestamp", "InactiveEnterTimestamp", "MemoryCurrent"),
    *("CPUUsageNSec", "TasksCurrent", "DropInPaths", "ConditionResult"),
)
_MEMORY = ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree", "Dirty", "Slab", "CommitLimit", "Committed_AS")


def versions_content(places: Places) -> Content:
    """Name every version that decides what runs here."""
    return json_content(
        {
            "appliance": {"version": __version__, "released": moment_text(RELEASED)},
            "python": platform.python_version(),
            "packages": dict(_packages()),
            "kernel": {"release": platform.release(), "machine": platform.machine()},
            "libc": " ".join(platform.libc_ver()),
            "os": _os_release(),
            "systemd": _first_line(["systemctl", "--version"]),
            "slots": _slots(places.slots),
            "rescue": _rescue(places.rescue),
        }
    )


def units_content(wording: Wording) -> Content:
    """Ask systemd for the state of our units; never for their environment. Raises Failed."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        raise Failed("no systemd runs here", hint="a daemon that was started by hand has no unit")
    listed = _output(["systemctl", "list-units", "--all", "--plain", "--no-legend", "appliance*"]) + _output(
        ["systemctl", "list-unit-files", "--plain", "--no-legend", "appliance*"]
    )
    names = sorted({line.split()[0] for line in listed.splitlines() if line.strip()})
    units = [name for name in names if "@." not in name]  # a template has no state
    if not units:
        return json_content([])
    shown = _output(["systemctl", "show", f"--property={','.join(_UNIT_FACTS)}", "--", *units])
    return json_content([_facts(block, wording) for block in shown.split("\n\n") if block.strip()])


def disks_content(layout: StateLayout) -> Content:
    """Measure the disks that we write to, what lies in each room of the state, and the memory."""
    rooms = ("blobs", "views", "staging", "quarantine", "device", "trust", "updates", "receipts", "slots", "audit")
    places = {
        "state": layout.root,
        "cache": layout.engines.parent,
        "runtime": layout.runtime,
        "log": Path("/var/log"),
    }
    return json_content(
        {
            "disks": {name: _disk(place) for name, place in places.items()},
            "state": {name: _room(layout.root / name) for name in rooms} | {"engines": _room(layout.engines)},
            "registry_bytes": layout.database.stat().st_size if layout.database.is_file() else None,
            "memory_kib": _memory(),
            "load_average": [round(load, 2) for load in os.getloadavg()],
        }
    )


def _packages() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _os_release() -> dict[str, str]:
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        return {}
    return {name: found[name] for name in _OS_FIELDS if name in found}


def _slots(store: SlotStore) -> dict[str, Any]:
    try:
        if not store.exists:
            return {"installed": False}
        record = store.read()
    except ApplianceError as error:
        return {"problem": error.message}
    except OSError as error:
        return {"problem": f"the record cannot be read: {error.strerror}"}
    trial, fallback, run = record.trial, record.fallback, record.run
    return {
        "installed": True,
        "number": record.number,
        "current": record.current,
        "confirmed": record.confirmed,
        "slots": {
            name: {"version": slot.version, "tree": slot.tree, "data_epoch": slot.data_epoch, "problem": slot.problem}
            for name, slot in sorted(record.slots.items())
        },
        "trial": None
        if trial is None
        else {"slot": trial.slot, "left": trial.left, "ticket": trial.ticket, "ends": trial.ends},
        "fallback": None
        if fallback is None
        else {"slot": fallback.slot, "version": fallback.version, "reason": fallback.reason},
        "run": None
        if run is None
        else {"slot": run.slot, "boot": run.boot_id, "ready": run.ready, "unready_before": run.unready_before},
    }


def _rescue(tree: Path) -> str:
    try:
        return read_software(tree).version
    except ApplianceError:
        return ""


def _facts(block: str, wording: Wording) -> dict[str, str]:
    found = dict(line.partition("=")[::2] for line in block.splitlines())
    found["StatusText"] = wording.masked(found.get("StatusText", ""))  # why models are not served
    return {name: found[name] for name in _UNIT_FACTS if name in found}


def _disk(place: Path) -> dict[str, Any]:
    try:
        found = os.statvfs(place)
    except OSError as error:
        return {"path": str(place), "problem": error.strerror}
    return {
        "path": str(place),
        "total_bytes": found.f_blocks * found.f_frsize,
        "free_bytes": found.f_bavail * found.f_frsize,
        "free_files": found.f_favail,
        "read_only": bool(found.f_flag & os.ST_RDONLY),
    }


def _room(directory: Path) -> dict[str, Any]:
    try:
        entry = directory.stat()
        found = {"owner": entry.st_uid, "mode": f"{entry.st_mode & 0o7777:04o}"}
        return found | dict(zip(("files", "size_bytes"), _measured(directory), strict=True))
    except FileNotFoundError:
        return {"problem": "not there"}
    except OSError as error:
        return {"problem": error.strerror}


def _measured(directory: Path) -> tuple[int, int]:
    if not os.access(directory, os.R_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13))
    files, size_bytes = 0, 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                size_bytes += Path(place, name).lstat().st_size
            except OSError:
                continue  # it is gone again
            files += 1
    return files, size_bytes


def _memory() -> Mapping[str, int]:
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {fields[0].rstrip(":"): int(fields[1]) for fields in lines if fields[0].rstrip(":") in _MEMORY}


def _first_line(command: list[str]) -> str:
    try:
        return (_output(command).splitlines() or [""])[0]
    except Failed:
        return ""


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"{command[0]} does not answer", hint="look at the machine: journalctl -k") from error
    return done.stdout
