"""The versions below which no metadata is accepted again, in two copies, so that no damage can take a box back.

python-tuf ignores local metadata that is damaged, and then takes an old bundle; the floor does not. A floor counts
for a role as long as no key that signed it is taken away: then a newer root's keys begin anew (so that a stolen key
that signed an absurdly high version can be recovered from). A key more changes nothing: old sticks are still signed.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from appliance.bundle.refusal import Refusal, UpdateRefused
from appliance.bundle.signed_document import SignedDocument
from appliance.durable import disk_errors, write_file
from appliance.errors import InvalidInput

_COPIES = ("floor.a", "floor.b")


class VersionFloor(SignedDocument):
    """The newest versions ever trusted. `keys`: those that sign timestamp and snapshot."""

    title: ClassVar[str] = "the version floor"

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    counter: int  # of writings: of two copies the higher one counts
    root: int
    versions: dict[str, int]  # role -> version; targets and delegated roles too
    keys: dict[str, tuple[str, ...]]

    def lowest(self, role: str, keys: Mapping[str, tuple[str, ...]]) -> int:
        """Return the version below which `role` is refused, where `keys` are those of the root in force."""
        signer = "timestamp" if role == "timestamp" else "snapshot"
        holds = set(self.keys.get(signer, ())) <= set(keys[signer])
        return self.versions.get(role, 0) if holds else 0


def write_floor(directory: Path, floor: VersionFloor) -> None:
    """Write both copies, one durably after the other."""
    data = floor.to_bytes()
    checked = hashlib.sha256(data).hexdigest().encode() + b"\n" + data
    with disk_errors("writing the version floor"):
        for name in _COPIES:
            write_file(directory / name, checked, mode=0o644)


def read_floor(directory: Path) -> VersionFloor:
    """Return the newest valid copy. Raises UpdateRefused (STATE_DAMAGED) if there is none."""
    found = [floor for name in _COPIES if (floor := _read(directory / name)) is not None]
    if not found:
        raise UpdateRefused(
            Refusal.STATE_DAMAGED,
            f"both copies of the version floor in {directory} are missing or damaged",
            hint="keep a copy of the directory for the report; then provision the box anew, with its owner",
            facts={"files": [str(directory / name) for name in _COPIES]},
        )
    return max(found, key=lambda floor: floor.counter)


def has_advanced(directory: Path) -> bool:
    """Whether anything was trusted here after the first root: then a lost pointer is damage, not a beginning."""
    return any(floor is not None and floor.counter > 1 for floor in (_read(directory / name) for name in _COPIES))


def _read(path: Path) -> VersionFloor | None:
    try:
        check, _, data = path.read_bytes().partition(b"\n")
        if hashlib.sha256(data).hexdigest().encode() != check:
            return None
        return VersionFloor.parse(data)
    except PermissionError:  # of whoever looks, not of the copy
        raise
    except (OSError, InvalidInput):  # a bad sector is what the other copy is for
        return None
