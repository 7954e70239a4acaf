"""New software in the slot that does not run gets its trial, and the trial its end.

Called by the daemon that holds its lock, or at installation; the selector does the starting.
"""

from dataclasses import replace

from appliance.errors import Failed
from appliance.slots.choice import confirm, fall_back, go_back
from appliance.slots.record import TRIES, Run, SlotName, SlotRecord, Trial
from appliance.slots.store import SlotStore


def arm(store: SlotStore, name: SlotName, ticket: str, live: tuple[str, ...]) -> SlotRecord:
    """Put a filled slot on trial: the next start is its first."""
    record = store.read()
    if not record.slots[name].usable:
        raise Failed(f"slot {name} holds no software that could be tried: {record.slots[name].problem or 'empty'}")
    return store.write(replace(record, trial=Trial(name, TRIES, ticket, live)))


def keep(store: SlotStore) -> SlotRecord:
    """The slot on trial has proved itself: it is the current one from now on."""
    return store.write(confirm(store.read()))


def refuse(store: SlotStore, reason: str) -> SlotRecord:
    """The slot on trial was judged and does not get another start; the selector falls back at the next one."""
    record = store.read()
    assert record.trial is not None, "only a trial can be refused"
    return store.write(replace(record, trial=replace(record.trial, refused=reason)))


def cancel(store: SlotStore, reason: str) -> SlotRecord:
    """End a trial that has not begun, or that the software before it takes back."""
    record = store.read()
    return record if record.trial is None else store.write(fall_back(record, reason))


def back(store: SlotStore, reason: str) -> SlotRecord:
    """Let the software before run at the next start. Raises Failed if it is not there any more."""
    try:
        return store.write(go_back(store.read(), reason))
    except ValueError as error:
        raise Failed(
            f"the software before cannot run: {error}",
            hint="apply a stick with the software you want: appliance update apply MEDIUM",
        ) from error


def note_forgiven(store: SlotStore) -> None:
    """The models' crashes under the software that failed are forgotten."""
    record = store.read()
    if record.fallback is not None:
        store.write(replace(record, fallback=replace(record.fallback, forgiven=True)))


def note_ready(store: SlotStore) -> None:
    """The start that is under way became ready."""
    record = store.read()
    run: Run | None = record.run
    if run is not None and not run.ready:
        store.write(replace(record, run=replace(run, ready=True, unready_before=0)))
