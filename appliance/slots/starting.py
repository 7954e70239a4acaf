"""The start of the service: recover, choose, write down, and only then run what was chosen.

A trial that cannot be counted is not started: without the count it could loop for ever.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.errors import ApplianceError, Failed
from appliance.slots.choice import Choice, choose, fall_back
from appliance.slots.places import Places
from appliance.slots.record import Run, SlotName, SlotRecord
from appliance.slots.running import command_of
from appliance.slots.snapshot import restore_snapshot, take_snapshot
from appliance.slots.tree import check_tree, tree_digest

RESCUE_S = 600  # how long the rescue software stays before a slot that is whole gets its next chance

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Start:
    """What to run. `story`: lines for the journal."""

    command: list[str]
    story: list[str]


def prepare_start(places: Places, arguments: list[str], tell: Tell) -> Start:
    """Decide what runs, and write that down. `tell` hears what takes long. Raises Failed if nothing can run."""
    try:
        choice = _chosen(places, tell)
    except ApplianceError as error:
        choice = Choice(SlotRecord(), None, error.message, again=True)
    if choice.slot is None:
        return _rescue(places, choice)
    _mark_rescued(places, rescued=False)
    slot = choice.record.slots[choice.slot]
    command = command_of(places.slots.path(choice.slot), ["serve", *arguments])
    trial = choice.record.trial
    story = [f"starting software {slot.version} from slot {choice.slot}"]
    if trial is not None and trial.slot is choice.slot:
        story[0] += f", on trial, {trial.left} more starts if it fails"
    fallback = choice.record.fallback
    if fallback is not None and fallback.slot is not choice.slot:
        story.insert(0, f"slot {fallback.slot} (software {fallback.version}) failed: {fallback.reason}")
    return Start(command, story)


def _chosen(places: Places, tell: Tell) -> Choice:
    store = places.slots
    if not store.exists:
        raise Failed(f"no software is installed in {store.directory}", hint="scripts/install.sh")
    record = _restored(places, store.read())
    boot_id = places.boot_id()

    def check(name: SlotName) -> str:
        return _check(places, record, name, boot_id, tell)

    choice = _with_snapshot(places, choose(record, boot_id, check), lambda without: choose(without, boot_id, check))
    if choice.slot is None or choice.record.restoring:
        return replace(choice, record=_restored(places, store.write(choice.record)))
    try:
        return replace(choice, record=store.write(choice.record))
    except Failed:
        if record.trial is None:
            return choice  # the daemon itself says what is wrong with the disk
        return Choice(replace(record, trial=None, run=Run(record.current, boot_id)), record.current)


def _with_snapshot(places: Places, choice: Choice, choose_again: Callable[[SlotRecord], Choice]) -> Choice:
    """Keep the registry before software starts that writes another form of it; without a copy there is no trial."""
    record, trial = choice.record, choice.record.trial
    if trial is None or trial.snapshot or not places.database.exists():
        return choice
    if record.slots[trial.slot].data_epoch == record.slots[record.current].data_epoch:
        return choice
    name = f"registry-before-{trial.slot}.db"
    try:
        take_snapshot(places.database, places.slots.snapshot_path(name))
    except Failed as error:
        return choose_again(fall_back(record, error.message))
    return replace(choice, record=replace(record, trial=replace(trial, snapshot=name)))


def _restored(places: Places, record: SlotRecord) -> SlotRecord:
    """Finish a way back: the registry of the software before takes its place again."""
    if not record.restoring:
        return record
    snapshot = places.slots.snapshot_path(record.restoring)
    if snapshot.exists():
        restore_snapshot(snapshot, places.database)
    record = places.slots.write(replace(record, restoring=""))
    snapshot.unlink(missing_ok=True)
    return record


def _check(places: Places, record: SlotRecord, name: SlotName, boot_id: str, tell: Tell) -> str:
    """Hash a slot, once in each start of the machine: restarts are quick."""
    slot, marker = record.slots[name], places.runtime / f"slot-{name}-whole"
    stamp = f"{boot_id} {slot.tree}"
    if _read(marker) == stamp:
        return ""
    tell(f"checking the software in slot {name}")
    problem = check_tree(places.slots.path(name), slot.tree, lambda _: None)
    if not problem and places.runtime.is_dir() and os.access(places.runtime, os.W_OK):
        marker.write_text(stamp)
    return problem


def _rescue(places: Places, choice: Choice) -> Start:
    tree = places.rescue
    if not tree_digest(tree):
        raise Failed(
            f"no software can be started ({choice.reason}), and there is no rescue software in {tree}",
            hint="install it again: apt install ./appliance_*.deb, or scripts/install.sh",
        )
    _mark_rescued(places, rescued=True)
    more = ["--rescue-seconds", str(RESCUE_S)] if choice.again else []
    command = command_of(tree, ["serve", "--rescue", choice.reason, *more])
    return Start(command, [f"rescue: {choice.reason}"])


def _mark_rescued(places: Places, *, rescued: bool) -> None:
    """Tell the command line to be the rescue software too. Helpful only: no start fails for it."""
    with contextlib.suppress(OSError):
        if rescued:
            places.rescued.touch()
        else:
            places.rescued.unlink(missing_ok=True)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
