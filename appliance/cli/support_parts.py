"""Every part of a support bundle, in the order in which they get room, and why it is in there."""

from functools import partial
from pathlib import Path
from typing import Any

from appliance.cli.checks import run_checks
from appliance.cli.documents import document_of
from appliance.cli.status import status_document
from appliance.errors import Failed
from appliance.hardware.reader import HardwareReader, read_within
from appliance.hardware.watch import WatchedHardware
from appliance.maintenance.support import incidents, journal, machine, models, settings_part, updates
from appliance.maintenance.support.allow_list import Allowed, allowed_only, plain, text
from appliance.maintenance.support.part import Content, Part, json_content
from appliance.maintenance.support.wording import Wording
from appliance.rpc.hardware_message import hardware_message
from appliance.settings import SITE_SETTINGS_FILE, SYSTEM_SETTINGS_FILE, Settings
from appliance.slots.places import Places

_SENSOR = plain("sensor", "part", "celsius", "critical_celsius")
_HARDWARE: dict[str, Allowed] = {
    **plain("age_s", "board", "jetson_linux", "processor", "processor_count", "power_mode"),
    **plain(
        "memory_total_bytes", "memory_available_bytes", "swap_total_bytes", "swap_free_bytes", "throttling_known"
    ),
    "temperatures": _SENSOR,
    "power_rails": plain("name", "watts"),
    "throttling": plain("part", "reason"),
    "throttle_counts": plain("part", "reason", "count"),
    "gpus": {
        **plain("name", "uuid", "celsius", "slowdown_celsius", "memory_total_bytes", "memory_used_bytes", "load"),
        **plain("watts", "watts_limit", "clock_hz", "clock_max_hz", "performance_state", "heat_throttled_s"),
        **plain("uncorrected_memory_errors"),
        **text("problem"),
    },
    "disk": plain("total_bytes", "free_bytes", "read_only", "devices", "wear", "end_of_life"),
    "history": {**plain("watched_s", "throttle_episodes", "last_throttled_s_ago"), "hottest": _SENSOR},
}
_MODEL: dict[str, Allowed] = {
    **plain("name", "version", "state", "backend", "digest", "aliases", "execution_asked", "device", "instances"),
    **plain("inference_count", "execution_count", "failure_count", "last_inference_unix_ms", "queue_depth"),
    **plain("load_duration_s", "execution_path"),
    **text("reason"),
    "memory": plain("kind", "device_id", "size_bytes"),
    "passed_over": {**plain("path"), **text("reason")},
    "engine_build": plain("fraction", "elapsed_s", "phase"),
}
STATUS: dict[str, Allowed] = {
    **plain(
        "product_version", "pid", "start_time_unix_s", "uptime_s", "state", "listeners", "transport", "rss_bytes"
    ),
    **text("problems", "reason"),
    "model_source": plain("registry_path", "directory_path", "sealed"),
    "models": _MODEL,
    "settings": plain(*settings_part.ALLOWED),
    "device": {
        **plain(
            "serial", "hardware", "site", "groups", "root_version", "root_fingerprint", "ticket_seq", "ticket_id"
        ),
        **plain("ticket_finished_unix_s"),
        **text("problem"),
    },
    "update": plain("step", "what", "done", "total"),
    "crashes": {
        **plain("name", "version", "count", "hung", "last_unix_s", "refused", "remedy"),
        "beside": plain("name", "version"),
    },
    "hardware": _HARDWARE,
    "clock": plain("clock_unix_s", "floor_unix_s", "suspect"),
    "slots": {
        **plain("current", "on_trial", "trial_starts_left", "fallback_version", "running", "fallback_reason"),
        "slots": plain("name", "version", "tree", "problem"),
    },
}
_CHECK: dict[str, Allowed] = {**plain("name", "result", "remedy"), **text("finding")}


def support_parts(
    config: Path | None, state: Path | None, settings: Settings, wording: Wording, since: str
) -> list[Part]:
    """List them; nothing is read yet. settings: the best that can be had of them."""
    layout = settings.layout
    files = {"operator": config or SYSTEM_SETTINGS_FILE, "site": layout.updates / SITE_SETTINGS_FILE}

    def always(collect: Any, *arguments: Any) -> Any:
        return lambda _: collect(*arguments)

    return [
        Part(
            "versions.json",
            "which software, slots, kernel and packages run",
            always(machine.versions_content, Places(layout.root)),
        ),
        Part("status.json", "what serves, and why something does not", always(_status, settings, wording)),
        Part("doctor.json", "what the examination of this box finds", always(_doctor, config, state, wording)),
        Part("units.json", "how systemd sees the service and its units", always(machine.units_content, wording)),
        Part("device.json", "sensors, GPU, power and clocks of the machine", always(_device, settings, wording)),
        Part(
            "disks.json",
            "room on the disks, sizes and owners in the state directory, memory",
            always(machine.disks_content, layout),
        ),
        Part(
            "settings.json",
            "settings by an allow-list; of others the name only",
            always(settings_part.settings_content, files),
        ),
        Part(
            "models.json",
            "names, versions and digests of models, how their last load went",
            always(models.models_content, layout, wording),
        ),
        Part(
            "updates.json", "identity, trust, tickets, receipts that wait", always(updates.updates_content, settings)
        ),
        Part(
            "incidents.txt",
            "what was written down when a unit failed",
            partial(incidents.incidents_content, incidents.DIRECTORY, wording),
        ),
        Part(
            "audit.jsonl",
            "what happened on this box, and whether the log of it is whole",
            partial(_some_audit, layout),
        ),
        Part(
            "journal.txt", "messages of the service and its units", partial(journal.journal_content, since, wording)
        ),
    ]


def _some_audit(layout: Any, room_bytes: int) -> Content:
    """Leave half of the room to the journal."""
    return updates.audit_content(layout, room_bytes // 2)


def _status(settings: Settings, wording: Wording) -> Content:
    document, problem = status_document(settings)
    if problem is not None:
        document |= {"reason": f"no daemon answered, this is from the disk: {problem.message}"}
    return json_content(allowed_only(document, STATUS, wording))


def _doctor(config: Path | None, state: Path | None, wording: Wording) -> Content:
    checks = [
        {"name": check.name, "result": check.result.value, "finding": check.finding, "remedy": check.remedy}
        for check in run_checks(config, state)
    ]
    return json_content(allowed_only(checks, _CHECK, wording))


def _device(settings: Settings, wording: Wording) -> Content:
    hardware = read_within(HardwareReader(settings.layout.root))
    if hardware is None:
        raise Failed("a driver of this machine does not answer", hint="see what the kernel says: journalctl -k")
    message = document_of(hardware_message(WatchedHardware(hardware, age_s=0.0)))
    return json_content(allowed_only(message, _HARDWARE, wording))
