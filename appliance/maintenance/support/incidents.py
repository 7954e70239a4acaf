"""What systemd/record-failure wrote down of failures: state of the unit, slots, and the end of its journal then.

On a box without a journal on disk these are all that a power cut leaves of a failure.
"""

import re
from pathlib import Path

from appliance.maintenance.support.part import Content
from appliance.maintenance.support.wording import Speaker, Wording

DIRECTORY = Path("/var/log/appliance")
_NAMES = re.compile(r"incident-\d{8}T\d{6}Z\.txt")
_FACTS = ("unit", "time", "Result", "ExecMainCode", "ExecMainStatus", "NRestarts", "StatusText", "InvocationID")
_FACT = re.compile(rf"({'|'.join(_FACTS)})(?:=|: )")
_SLOTS = re.compile(r"(?:[AB]: |last fallback: from )")
_ENTRY = re.compile(r"(\S+) \S+ ([^\s\[]+)(\[\d+\])?: (.*)")  # short-iso: time, host, who, message


def incidents_content(directory: Path, wording: Wording, room_bytes: int) -> Content:
    """Join the records, oldest first; those for which there is no room are left out, the oldest first."""
    if not directory.is_dir():
        return Content(b"no failure was ever recorded here\n")
    names = sorted(path.name for path in directory.iterdir() if _NAMES.fullmatch(path.name))
    kept: list[bytes] = []
    for name in reversed(names):
        text = _cleaned((directory / name).read_text(errors="backslashreplace"), wording)
        data = f"== {name}\n{text}\n".encode(errors="backslashreplace")
        if len(data) > room_bytes:
            break
        room_bytes -= len(data)
        kept.append(data)
    left_out = len(names) - len(kept)
    return Content(b"".join(reversed(kept)), f"the oldest {left_out} of {len(names)} records" if left_out else "")


def _cleaned(record: str, wording: Wording) -> str:
    facts, _, rest = record.partition("\n\n")
    slots, _, journal = rest.partition("\n\n")
    lines = [wording.masked(line) for line in facts.splitlines() if _FACT.match(line)]
    lines += [line for line in slots.splitlines() if _SLOTS.match(line)]
    return "\n".join([*lines, "", *_journal(journal, wording)])


def _journal(text: str, wording: Wording) -> list[str]:
    """Clean the lines as those of the journal; the name of the host goes."""
    lines: list[str] = []
    for line in text.splitlines():
        found = _ENTRY.fullmatch(line)
        if found is None:  # the further lines of a message are indented
            lines += wording.cleaned(line.strip(), Speaker.SERVICE)
            continue
        moment, who, process, message = found.groups()
        speaker = Speaker.SYSTEMD if who == "systemd" and process == "[1]" else Speaker.SERVICE
        lines += [f"{moment} {who}{process or ''}: {told}" for told in wording.cleaned(message, speaker)]
    return lines
