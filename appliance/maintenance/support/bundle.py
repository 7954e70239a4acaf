"""Collecting the parts of a support bundle, each on its own: what cannot be read is named, the rest is there.

Invariant: the content of all members together is never more than the room that was given.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance import __version__
from appliance.bundle.moments import moment_text
from appliance.errors import ApplianceError
from appliance.maintenance.support.part import Part
from appliance.maintenance.support.wording import Wording

MANIFEST = "manifest.json"
READ_ME = "MANIFEST.txt"
_FOR_MANIFESTS_BYTES = 64 * 1024
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One part, collected. problem: why it is missing, '' if it is there. cut: what was left out of it."""

    name: str
    why: str
    data: bytes = b""
    cut: str = ""
    problem: str = ""

    def document(self) -> dict[str, Any]:
        """Say what it is, as the manifest does."""
        told: dict[str, Any] = {"name": self.name, "why": self.why}
        if self.problem:
            return told | {"missing": self.problem}
        told |= {"size_bytes": len(self.data), "sha256": hashlib.sha256(self.data).hexdigest()}
        return told | ({"cut": self.cut} if self.cut else {})


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything that goes into the file. box: serial number, '' if it has none. moment: by the box's clock."""

    box: str
    moment: datetime
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """What the file and the directory in it are called."""
        safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in self.box)
        return f"appliance-support-{safe or 'unnamed'}-{self.moment:%Y%m%dT%H%M%SZ}"

    def manifest(self) -> dict[str, Any]:
        """List every member, the missing ones with their reason."""
        return {
            "schema": _SCHEMA,
            "box": self.box,
            "created": moment_text(self.moment),
            "software": __version__,
            "members": [member.document() for member in self.members],
        }

    def files(self) -> list[tuple[str, bytes]]:
        """Return name and content of every file, in the order in which they are written."""
        present = [(member.name, member.data) for member in self.members if not member.problem]
        manifest = json.dumps(self.manifest(), indent=2).encode() + b"\n"
        return [(READ_ME, _read_me(self)), (MANIFEST, manifest), *present]


def collect(
    parts: Sequence[Part],
    *,
    box: str,
    now: datetime,
    room_bytes: int,
    wording: Wording,
    tell: Callable[[str], None],
) -> Bundle:
    """Collect every part. parts: in the order in which they get room; members are sorted by name."""
    left = room_bytes - _FOR_MANIFESTS_BYTES
    members = []
    for part in parts:
        tell(f"collecting {part.name}")
        member = _member(part, left, wording)
        left -= len(member.data)
        members.append(member)
    return Bundle(box, now, tuple(sorted(members, key=lambda member: member.name)))


def _member(part: Part, room_bytes: int, wording: Wording) -> Member:
    try:
        content = part.collect(room_bytes)
    except ApplianceError as error:
        return Member(part.name, part.why, problem=wording.masked(str(error)))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        return Member(part.name, part.why, problem=f"{error.strerror or type(error).__name__}{where}")
    except Exception as error:  # noqa: BLE001  (a box that is damaged in any way is what the rest is wanted for)
        # Its words may quote what was read.
        return Member(part.name, part.why, problem=f"it cannot be read: {type(error).__name__}")
    if len(content.data) > room_bytes:
        return Member(part.name, part.why, problem=f"no room for {len(content.data)} bytes: give more with --max-mb")
    return Member(part.name, part.why, content.data, content.cut)


def _read_me(bundle: Bundle) -> bytes:
    lines = [
        f"Support bundle of {bundle.box or 'a box without a name'}, {moment_text(bundle.moment)},",
        f"appliance {__version__}.",
        "In it is what this list names, by an allow-list of files and fields. Never in it: requests, answers,",
        "tensors, model files, keys, credentials, environment variables, backups, addresses of clients, the name of",
        "the host.",
        "Quoted words that this box does not know, and what exceptions say, are withheld.",
        "",
    ]
    for member in bundle.members:
        lines.append(member.name)
        lines.append(f"    why: {member.why}")
        if member.problem:
            lines.append(f"    missing: {member.problem}")
            continue
        lines.append(f"    {len(member.data)} bytes, sha256 {hashlib.sha256(member.data).hexdigest()}")
        if member.cut:
            lines.append(f"    left out: {member.cut}")
    return "\n".join(lines).encode(errors="backslashreplace") + b"\n"
