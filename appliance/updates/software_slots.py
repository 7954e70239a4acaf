"""The software slots as updates see them: what runs, what may be filled, and what became of a ticket's software.

The slots' record decides about a ticket that brings software; what the registry says of the ticket follows it.
"""

import platform
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import appliance
from appliance.errors import InvalidInput
from appliance.slots import arming
from appliance.slots.record import SlotName, SlotRecord
from appliance.slots.running import running_tree
from appliance.slots.store import SlotStore
from appliance.slots.tree import read_software
from appliance.state_layout import StateLayout
from appliance.updates.planned_software import SlotFacts


class Verdict(Enum):
    """What became of the software of a ticket."""

    FILLED = "filled"  # it lies in a slot, and nothing tries it yet
    WAITING = "waiting"  # the next start tries it
    ON_TRIAL = "on trial"  # this process is it
    KEPT = "kept"
    FAILED = "failed"  # what was before runs again


@dataclass(frozen=True, slots=True)
class SoftwareSlots:
    """Of one box. running: the slot whose software this process is; None: other software, such as the rescue's."""

    store: SlotStore
    running: SlotName | None
    python: str
    machine: str
    variant: str
    rescue: bool = False  # this process serves no models, because no slot could start

    @classmethod
    def of(cls, layout: StateLayout, *, rescue: bool = False) -> "SoftwareSlots":
        """Look where this process came from."""
        store = SlotStore(layout.slots, layout.software)
        tree = running_tree(Path(appliance.__file__).parent)
        running = next((name for name in SlotName if store.path(name) == tree), None)
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return cls(store, running, python, platform.machine(), _variant(tree), rescue)

    @property
    def installed(self) -> bool:
        """Whether this box has slots: an appliance that runs from a directory of its own has none."""
        return self.store.exists

    def facts(self) -> SlotFacts | None:
        """Collect what decides about a release; None if this box takes none."""
        if not self.installed:
            return None
        record = self.store.read()
        current, other = record.slots[record.current], record.slots[record.current.other]
        return SlotFacts(
            python=self.python,
            machine=self.machine,
            variant=self.variant,
            runs=current.tree if current.usable else "",
            filled=[other.tree] if other.usable else [],
            data_epoch=current.data_epoch,
        )

    @property
    def inactive(self) -> SlotName:
        """The slot that an update fills."""
        return self.store.read().current.other

    @property
    def current_tree(self) -> str:
        """The tree that runs."""
        record = self.store.read()
        return record.slots[record.current].tree

    @property
    def rescuing(self) -> bool:
        """Whether no slot of a box that has some can start: nobody could try models."""
        return self.rescue or (self.installed and not any(slot.usable for slot in self.store.read().slots.values()))

    def verdict(self, ticket: str) -> Verdict:
        """Say what became of the software of a ticket (its digest)."""
        record = self.store.read()
        if record.trial is not None and record.trial.ticket == ticket:
            return Verdict.ON_TRIAL if self.running is record.trial.slot else Verdict.WAITING
        if record.fallback is not None and record.fallback.ticket == ticket:
            return Verdict.FAILED
        return Verdict.KEPT if record.confirmed == ticket else Verdict.FILLED

    @property
    def reason(self) -> str:
        """Why the last software that failed did."""
        record = self.store.read()
        return record.fallback.reason if record.fallback is not None else ""

    @property
    def on_trial(self) -> SlotRecord | None:
        """The record, if this process has to prove itself."""
        record = self.store.read()
        return record if record.trial is not None and record.trial.slot is self.running else None

    def arm(self, ticket: str, live: tuple[str, ...]) -> None:
        """Let the next start try the software that was filled in. live: models that have to serve again."""
        arming.arm(self.store, self.inactive, ticket, live)

    def keep(self) -> None:
        """The software on trial has proved itself."""
        arming.keep(self.store)

    def refuse(self, reason: str) -> None:
        """The software on trial gets no other start."""
        arming.refuse(self.store, reason)

    def back(self, reason: str) -> None:
        """Let the software before run at the next start. Raises Failed."""
        arming.back(self.store, reason)

    @property
    def fell_back_just_now(self) -> bool:
        """Whether software that failed may have left crashes that are no model's fault."""
        fallback = self.store.read().fallback
        return fallback is not None and not fallback.forgiven and self.running not in (None, fallback.slot)

    def note_forgiven(self) -> None:
        """Those crashes count no more."""
        arming.note_forgiven(self.store)

    @property
    def became_ready(self) -> bool:
        """Whether systemd has heard that this start is ready."""
        run = self.store.read().run
        return run is not None and run.ready


def _variant(tree: Path) -> str:
    """Say which kind of software this process is; what runs from no tree takes no releases anyway."""
    try:
        return read_software(tree).variant
    except InvalidInput:
        return "cpu"
