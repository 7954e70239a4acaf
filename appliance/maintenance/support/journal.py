"""The journal of the appliance's own units, newest entries first, as far as there is room."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance.daemon.journal_files import JOURNALS, require_journal
from appliance.errors import Failed
from appliance.maintenance.support.part import Content
from appliance.maintenance.support.wording import Speaker, Wording

SERVICE_UNIT = "appliance.service"
_AS_ROOT = "sudo appliance support-bundle"
_FIELDS = "MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT,_PID,_BOOT_ID"
_LONGEST_S = 60.0  # of reading; a journal may hold gigabytes
_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")


def journal_content(since: str, wording: Wording, room_bytes: int, places: Iterable[Path] = JOURNALS) -> Content:
    """Read the units' journal. since: as journalctl understands it. Raises Failed."""
    with _journalctl(since, places) as lines:
        return newest_entries(lines, wording, room_bytes, time.monotonic() + _LONGEST_S)


def is_time(since: str) -> bool:
    """Whether journalctl understands this as a time; yes where there is none, as nothing is asked of it then."""
    program = shutil.which("journalctl")
    if program is None:
        return True
    command = [program, f"--since={since}", "--lines=0", "--no-pager"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=_ENVIRONMENT)
    except subprocess.TimeoutExpired:
        return True
    return "Failed to parse timestamp" not in done.stderr


def newest_entries(
    lines: Iterable[bytes],
    wording: Wording,
    room_bytes: int,
    deadline_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Content:
    """Write entries for people, oldest first. lines: of `journalctl --reverse --output=json`."""
    kept: list[bytes] = []
    left_out, in_time, full = 0, True, False
    for line in lines:
        if not full:
            text = _written(line, wording)
            full = len(text) > room_bytes
        if full:
            left_out += 1
        else:
            kept.append(text)
            room_bytes -= len(text)
        if clock() > deadline_s:
            in_time = False
            break
    cut = f"the oldest {left_out} entries" if left_out else ""
    if not in_time:
        cut = f"{cut or 'older entries'}, and whatever is older: reading took too long"
    return Content(b"".join(reversed(kept)), cut)


@contextmanager
def _journalctl(since: str, places: Iterable[Path]) -> Iterator[Iterable[bytes]]:
    program = require_journal(_AS_ROOT, places)
    command = [program, "--unit=appliance*", "--no-pager", "--reverse", "--all", "--output=json"]
    command += [f"--output-fields={_FIELDS}", *([f"--since={since}"] if since else [])]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        hangs = threading.Timer(_LONGEST_S + 5, process.kill)  # on a disk that does not answer
        hangs.start()
        try:
            yield process.stdout
        finally:
            hangs.cancel()
            process.kill()  # nothing is wanted of what it has not said yet
        said = process.stderr.read().decode(errors="replace")
    if "insufficient permissions" in said or "not seeing messages" in said:
        raise Failed("the journal cannot be read by this user", hint=_AS_ROOT)


def _written(line: bytes, wording: Wording) -> bytes:
    try:
        entry = json.loads(line)
    except ValueError:
        return b""
    unit = str(entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "?")
    level = str(entry.get("PRIORITY") or "6")
    level = _LEVELS[int(level)] if level in "01234567" else level
    boot, process = str(entry.get("_BOOT_ID") or "")[:8], entry.get("_PID") or "?"
    head = f"{_time(entry)} {boot} {level} {unit}[{process}]:"
    told = wording.cleaned(_message(entry), _speaker(entry))
    return "".join(f"{head} {text}\n" for text in told).encode(errors="backslashreplace")


def _speaker(entry: dict[str, Any]) -> Speaker:
    """Judge by what the journal itself vouches for: fields that begin with an underscore."""
    if entry.get("_PID") == "1":
        return Speaker.SYSTEMD
    unit = str(entry.get("_SYSTEMD_UNIT") or "")
    return Speaker.TOOL if unit.startswith("appliance") and unit != SERVICE_UNIT else Speaker.SERVICE


def _message(entry: dict[str, Any]) -> str:
    message = entry.get("MESSAGE")
    if isinstance(message, list):  # bytes that are no text
        return bytes(message).decode(errors="backslashreplace")
    return message if isinstance(message, str) else ""


def _time(entry: dict[str, Any]) -> str:
    moment = datetime.fromtimestamp(int(entry.get("__REALTIME_TIMESTAMP") or 0) / 1e6, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
