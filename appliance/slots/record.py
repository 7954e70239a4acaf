"""What is known of the two software slots: which one runs, which one is on trial, and what went wrong last.

Pure. Written as one JSON object with its own digest, so that a torn copy is told from a whole one.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

from appliance.errors import InvalidInput

TRIES = 3  # starts that a new slot gets before what was before runs again
_SCHEMA = 1
_NAMES = ("live", "ends")  # tuples, which JSON does not know
_COPY = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")  # the name of a file beside the record, and never a path


class SlotName(StrEnum):
    """The two places for software."""

    A = "A"
    B = "B"

    @property
    def other(self) -> "SlotName":
        """The slot beside this one."""
        return SlotName.B if self is SlotName.A else SlotName.A


@dataclass(frozen=True, slots=True)
class Slot:
    """What lies in one slot. tree: digest of its list of files, '' if nothing whole lies there.

    problem: why it is not to be started any more, '' if it may be.
    """

    tree: str = ""
    version: str = ""
    data_epoch: int = 0  # form of the state that this software writes
    problem: str = ""

    @property
    def usable(self) -> bool:
        """Whether it may be started, as far as the record knows."""
        return bool(self.tree) and not self.problem


@dataclass(frozen=True, slots=True)
class Trial:
    """A slot that has to prove itself. `left`: starts that it still has.

    ticket: digest of the ticket that brought it. live: models that served before and must serve again. snapshot: name
    of the copy of the registry that goes back with a fallback, '' while there is none. ends: how its starts ended.
    """

    slot: SlotName
    left: int
    ticket: str
    live: tuple[str, ...] = ()
    snapshot: str = ""
    ends: tuple[str, ...] = ()
    refused: str = ""  # why it does not get another start: its own gate has judged


@dataclass(frozen=True, slots=True)
class Fallback:
    """The last time that what was before had to run again."""

    slot: SlotName  # that failed
    version: str
    ticket: str
    reason: str
    forgiven: bool = False  # whether what crashed under it counts no more against the models


@dataclass(frozen=True, slots=True)
class Run:
    """The start that is under way, or was the last. `boot_id`: of the machine's start it belongs to."""

    slot: SlotName
    boot_id: str
    ready: bool = False
    unready_before: int = 0  # starts in a row, since the machine's, that ended before they were ready


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """Everything known. `confirmed`: digest of the ticket that brought the current slot, '' for the installation's.

    undo: name of the copy of the registry that fits the other slot, '' if the registry as it is does. restoring: the
    copy that has to take the registry's place before anything starts.
    """

    current: SlotName = SlotName.A
    slots: Mapping[SlotName, Slot] = field(default_factory=lambda: {SlotName.A: Slot(), SlotName.B: Slot()})
    trial: Trial | None = None
    fallback: Fallback | None = None
    run: Run | None = None
    confirmed: str = ""
    undo: str = ""
    restoring: str = ""
    number: int = 0  # rises with every write

    def with_slot(self, name: SlotName, slot: Slot, **changes: Any) -> "SlotRecord":
        """Say what lies in a slot."""
        return replace(self, slots={**self.slots, name: slot}, **changes)

    def to_bytes(self) -> bytes:
        """Write it: the object, then the digest of the line."""
        slots = {name: asdict(slot) for name, slot in self.slots.items()}
        document = asdict(self) | {"schema": _SCHEMA, "slots": slots}
        line = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote. Raises InvalidInput for anything else."""
        line, _, digest = data.partition(b"\n")
        if digest.strip().decode("ascii", "replace") != hashlib.sha256(line).hexdigest():
            raise InvalidInput("its digest does not fit")
        try:
            document = json.loads(line)
            if (schema := document.pop("schema")) != _SCHEMA:
                raise InvalidInput(f"its form is {schema}, expected {_SCHEMA}")
            return cls(**_parsed(document))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise InvalidInput(f"{type(error).__name__}: {error}") from error


def _parsed(document: dict[str, Any]) -> dict[str, Any]:
    trial, fallback, run = document["trial"], document["fallback"], document["run"]
    found = document | {
        "current": SlotName(document["current"]),
        "slots": {SlotName(name): Slot(**_checked(Slot, slot)) for name, slot in document["slots"].items()},
        "trial": trial and Trial(**_checked(Trial, _named(trial) | {key: tuple(trial[key]) for key in _NAMES})),
        "fallback": fallback and Fallback(**_checked(Fallback, _named(fallback))),
        "run": run and Run(**_checked(Run, _named(run))),
    }
    if len(found["slots"]) != len(SlotName) or not all(isinstance(each, str) for each in _names_in(found["trial"])):
        raise ValueError("slots or names are missing")
    copies = [document["undo"], document["restoring"], *([trial["snapshot"]] if trial else [])]
    if any(copy and not _COPY.fullmatch(copy) for copy in copies):
        raise ValueError(f"{str(copies)[:120]} are no names of copies of the registry")
    return _checked(SlotRecord, found)


def _names_in(trial: Trial | None) -> tuple[str, ...]:
    return (*trial.live, *trial.ends) if trial is not None else ()


def _named(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"slot": SlotName(document["slot"])}


def _checked(kind: type, document: dict[str, Any]) -> dict[str, Any]:
    """Return it if words, numbers and truths are where they belong: whoever wrote it is trusted in nothing."""
    for each in fields(kind):
        if each.type in (str, int, bool) and each.name in document and type(document[each.name]) is not each.type:
            raise TypeError(f"{each.name} is {str(document[each.name])[:120]!r}")
    return document
