"""The lines of `appliance status`. In ASCII, as a serial console shows it; what is not known has no line."""

from collections.abc import Iterator
from datetime import UTC, datetime

from appliance.cli.crash_checks import crash_text
from appliance.cli.hardware_lines import hardware_lines
from appliance.cli.output import format_duration
from appliance.cli.status import models_from
from appliance.errors import ApplianceError
from appliance.rpc.pb import appliance_admin_pb2 as pb

Line = tuple[str, object]
_DAY_S = 86400
_LONG_S = 400 * _DAY_S  # that a box may have been switched off, or its clock be set wrong


def status_facts(answer: pb.StatusResponse, problem: ApplianceError | None) -> list[Line]:
    """Say everything but the models. problem: why no daemon answered, if none did."""
    return [
        *_service(answer, problem),
        ("models", models_from(answer.model_source)),
        *(("listening on", listener) for listener in answer.listeners),
        *_owner(answer),
        *_slots_trouble(answer),
        *(("crash", f"{crash_text(crash)} (to try again: {crash.remedy})") for crash in answer.crashes),
        *_clock(answer),
        *hardware_lines(answer),
        *(("problem", each) for each in answer.problems),
    ]


def _service(answer: pb.StatusResponse, problem: ApplianceError | None) -> list[Line]:
    slot = _slot(answer)
    if problem is not None:
        return [
            ("state", f"{answer.state}: {problem.message}"),
            ("software", f"appliance {answer.product_version}{slot}"),
        ]
    return [
        ("state", f"{answer.state}, up for {format_duration(answer.uptime_s)}"),
        ("software", f"appliance {answer.product_version}{slot}, {answer.transport}, process {answer.pid}"),
    ]


def _slot(answer: pb.StatusResponse) -> str:
    if not answer.HasField("slots"):
        return ""
    slots = answer.slots
    where = f" from slot {slots.running}" if slots.running else f", slot {slots.current} is next"
    others = [slot for slot in slots.slots if slot.name != (slots.running or slots.current)]
    return where + "".join(f" ({slot.name}: {slot.version or 'empty'})" for slot in others)


def _slots_trouble(answer: pb.StatusResponse) -> Iterator[Line]:
    if not answer.HasField("slots"):
        return
    slots = answer.slots
    if slots.on_trial:
        yield "on trial", f"slot {slots.on_trial}, {slots.trial_starts_left} more starts to prove itself"
    if slots.fallback_reason:
        yield "fell back", f"from version {slots.fallback_version}: {slots.fallback_reason}"
    for slot in slots.slots:
        if slot.problem:
            yield "problem", f"slot {slot.name} is not started any more: {slot.problem}"


def _owner(answer: pb.StatusResponse) -> Iterator[Line]:
    if not answer.HasField("device"):
        if not answer.problems:
            yield "sealed", "no: anybody with access to this box may add models (appliance provision)"
        return
    device = answer.device
    yield "sealed", f"{device.serial}, {device.hardware}, at {device.site}"
    yield "trusts", device.problem or f"root {device.root_version}, fingerprint {device.root_fingerprint[:16]}"
    yield "last update", _last_update(answer)
    if answer.HasField("update"):
        done, total = answer.update.done, answer.update.total
        share = f" {done / total:.0%}" if total else ""
        yield "update", f"{answer.update.step} {answer.update.what}{share}"


def _last_update(answer: pb.StatusResponse) -> str:
    device = answer.device
    if not device.ticket_seq:
        return "none yet"
    ticket = f"ticket {device.ticket_id} ({device.ticket_seq})"
    since_s = days_since_s(answer)
    if since_s is None:
        return f"{ticket}, at a time that is not known"
    days = since_s // _DAY_S
    return f"{ticket}, {'today' if days == 0 else f'{days} d ago'}"


def days_since_s(answer: pb.StatusResponse) -> int | None:
    """Seconds since the last update; None if there was none, or if the clock cannot tell."""
    finished_s, clock = answer.device.ticket_finished_unix_s, answer.clock
    if not finished_s or not answer.HasField("clock") or clock.suspect or clock.clock_unix_s < finished_s:
        return None
    return clock.clock_unix_s - finished_s


def _clock(answer: pb.StatusResponse) -> Iterator[Line]:
    if not answer.HasField("clock"):
        return
    clock = answer.clock
    if clock.suspect:
        trust = f"WRONG: it is certainly not before {_time(clock.floor_unix_s)}"
    elif clock.clock_unix_s > clock.floor_unix_s + _LONG_S:
        trust = f"DOUBTFUL: {_time(clock.floor_unix_s)} was the last time known"
    else:
        trust = "trusted"
    yield "clock", f"{_time(clock.clock_unix_s)}, {trust}"


def _time(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
