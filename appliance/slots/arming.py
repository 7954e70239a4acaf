"""New software in the slot that does not run gets its trial, and the trial its end.

Called by the daemon that holds its lock, or at installation; the selector does the starting.
"""

from dataclasses import replace

from appliance.errors import Failed
from appliance.slots.choice import confirm, go_back
from appliance.slots.record import TRIES, SlotName, SlotRecord, Trial
from appliance.slots.store import SlotStore


def arm(store: SlotStore, name: SlotName, ticket: str, live: tuple[str, ...]) -> SlotRecord:
    """Put a filled slot on trial: the next start is its first. Raises Failed if it holds nothing.

    A trial that has begun there has copied the registry as it was before: that copy stays the way back.
    """

    def armed(record: SlotRecord) -> SlotRecord:
        if not record.slots[name].usable:
            raise Failed(
                f"slot {name} holds no software that could be tried: {record.slots[name].problem or 'empty'}"
            )
        snapshot = record.trial.snapshot if record.trial is not None else ""
        return replace(record, trial=Trial(name, TRIES, ticket, live, snapshot))

    return store.change(armed)


def keep(store: SlotStore) -> SlotRecord:
    """The slot on trial has proved itself: it is the current one from now on."""
    return store.change(confirm)


def refuse(store: SlotStore, reason: str) -> SlotRecord:
    """The slot on trial was judged and does not get another start; the selector falls back at the next one."""

    def refused(record: SlotRecord) -> SlotRecord:
        assert record.trial is not None, "only a trial can be refused"
        return replace(record, trial=replace(record.trial, refused=reason))

    return store.change(refused)


def back(store: SlotStore, reason: str) -> SlotRecord:
    """Let the software before run at the next start. Raises Failed if it is not there any more."""
    undo = store.read().undo
    if undo and not store.snapshot_path(undo).exists():
        raise Failed(
            "the software before reads another form of the registry, and the copy that it would need is gone",
            hint="apply a stick with the software you want: appliance update apply MEDIUM",
        )
    try:
        return store.change(lambda record: go_back(record, reason))
    except ValueError as error:
        raise Failed(
            f"the software before cannot run: {error}",
            hint="apply a stick with the software you want: appliance update apply MEDIUM",
        ) from error


def note_ready(store: SlotStore) -> SlotRecord:
    """Systemd has heard that the start that is under way is ready."""

    def ready(record: SlotRecord) -> SlotRecord:
        run = record.run
        return record if run is None else replace(record, run=replace(run, ready=True, unready_before=0))

    return store.change(ready)


def note_forgiven(store: SlotStore) -> SlotRecord:
    """The models' crashes under the software that failed are forgotten."""

    def forgiven(record: SlotRecord) -> SlotRecord:
        fallback = record.fallback
        return record if fallback is None else replace(record, fallback=replace(fallback, forgiven=True))

    return store.change(forgiven)
