"""Sentences and log lines, cleaned of what they may quote from a request. Pure.

Our own messages never hold data, but they quote names and values that a client or a file gave; a runtime's exceptions
and its output may quote data. So: of our sentences, quoted words stay only if this box knows them; of an
exception its type stays; of output that is not ours only known forms stay. What was taken out is said where it stood.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

MASK = "(withheld)"
_OPENING = re.compile(r"(?<!\w)(['\"])")
_CLOSING = re.compile(r"['\"](?!\w)")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_STAMP = r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\S* [A-Z]+ )?"  # where the journal does not know time and level
_OURS = re.compile(rf"({_STAMP}appliance(?:\.[a-z_0-9]+)*: )(.*)")
_SAID = re.compile(r"(?:error|next|starting software|rescue|slot [AB])\b")  # by a command that ends, by the selector
_AS_IT_IS = (
    re.compile(r"Traceback \(most recent call last\):$"),
    re.compile(r"(?:The above exception was the direct cause|During handling of the above exception)[\w ,]*:$"),
    re.compile(r'File "[^"]*", line \d+(?:, in [\w.<>]+)?$'),
    re.compile(r"(?:ImportError|ModuleNotFoundError|MemoryError)\b"),  # of libraries, never of data
)
_BEGINNINGS = (  # what follows them may be of a request
    re.compile(rf"({_STAMP}(?:asyncio|tuf|grpc|concurrent|py)[\w.]*:)"),
    re.compile(r"((?:\S+ \S+ )?\[[VIWEF]:onnxruntime:[^\]]*\])"),
    re.compile(
        r"((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Warning|Exit|Interrupt)"
        r"|(?:appliance|onnxruntime)(?:\.\w+)*\.[A-Z]\w*)(?=:|$)"
    ),
    re.compile(
        r"(Fatal Python error: [\w ]+|free\(\): [\w ]+|malloc\(\): [\w ]+|double free or corruption|corrupted [\w ]+"
        r"|terminate called after throwing an instance of '[\w:]+'|Illegal instruction|Segmentation fault|Bus error"
        r"|\*\*\* stack smashing detected \*\*\*)"
    ),
)


class Speaker(Enum):
    """Who wrote a line, and so how much of it is known to be harmless."""

    SYSTEMD = "systemd"  # never sees a request
    TOOL = "tool"  # our commands and scripts: no request comes to them
    SERVICE = "service"  # answers requests


@dataclass(frozen=True, slots=True)
class Wording:
    """known: words that may stand in quotes: names of this box's models and of their parts."""

    known: frozenset[str] = frozenset()

    def masked(self, sentence: str) -> str:
        """Take out what is quoted and not known; in doubt up to the last quotation mark."""
        position = 0
        while opening := _OPENING.search(sentence, position):
            begin, mark = opening.end(), opening.group(1)
            end = sentence.find(mark, begin)
            if end >= 0 and (end == begin or sentence[begin:end] in self.known):
                position = end + 1
                continue
            last = [found.start() for found in _CLOSING.finditer(sentence, begin)]
            rest = sentence[last[-1] :] if last else ""
            return sentence[:begin] + MASK + rest
        return sentence

    def cleaned(self, message: str, speaker: Speaker) -> list[str]:
        """Clean one message, which may have several lines."""
        lines = [_printable(line) for line in message.splitlines()]
        if speaker is Speaker.SYSTEMD:
            return lines
        if len(lines) == 1 and (event := _json_event(lines[0])):
            lines = list(event)
        cleaned = [self._line(line, speaker) for line in lines]
        return _with_counts(lines, cleaned)

    def _line(self, line: str, speaker: Speaker) -> str | None:
        """Return what may stay of a line, None if nothing."""
        if ours := _OURS.match(line):
            return ours.group(1) + self.masked(ours.group(2))
        bare = line.strip()
        if any(form.match(bare) for form in _AS_IT_IS):
            return line
        if found := next((found for form in _BEGINNINGS if (found := form.match(bare))), None):
            return found.group(1) + (f" {MASK}" if found.end() < len(bare) else "")
        return self.masked(line) if speaker is Speaker.TOOL or _SAID.match(bare) else None


def _json_event(line: str) -> Sequence[str] | None:
    """Write an event of `log.format = "json"` as the lines that it has in text."""
    if not line.startswith('{"time"'):
        return None
    try:
        event = json.loads(line)
        trace = event.get("exception", "")
        return [f"{event['logger']}: {event['message']}", *map(_printable, trace.splitlines())]
    except (ValueError, KeyError, AttributeError):
        return None


def _with_counts(lines: Sequence[str], cleaned: Sequence[str | None]) -> list[str]:
    """Say once for each run of lines how much was taken out."""
    told: list[str] = []
    withheld = 0
    for line, kept in zip(lines, cleaned, strict=True):
        if kept is None:
            withheld += len(line)
            continue
        if withheld:
            told.append(f"({withheld} characters withheld)")
        told.append(kept)
        withheld = 0
    return [*told, f"({withheld} characters withheld)"] if withheld else told


def _printable(line: str) -> str:
    bare = _ANSI.sub("", line)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in bare)
