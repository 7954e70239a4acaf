"""One part of a support bundle: its name, why it is in there, and how it is collected."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Content:
    """What a part holds. cut: what had to be left out of it to keep the size, '' if nothing."""

    data: bytes
    cut: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """collect: given the room that is left in bytes, reads the part; any error of it is a part that is missing."""

    name: str
    why: str
    collect: Callable[[int], Content]


def json_content(document: Any) -> Content:
    """Write a document so that equal facts are equal bytes."""
    return Content(json.dumps(document, indent=2, sort_keys=True, default=str).encode() + b"\n")


def newest_lines(lines: list[str], room_bytes: int, what: str) -> Content:
    """Keep as many of the last lines as there is room for. lines: oldest first."""
    kept: list[bytes] = []
    for line in reversed(lines):
        data = line.encode(errors="backslashreplace") + b"\n"
        room_bytes -= len(data)
        if room_bytes < 0:
            break
        kept.append(data)
    left_out = len(lines) - len(kept)
    return Content(b"".join(reversed(kept)), f"the oldest {left_out} of {len(lines)} {what}" if left_out else "")
