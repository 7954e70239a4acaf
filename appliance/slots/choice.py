"""Which slot starts now: one pure rule over the record and what was found out about the trees.

There is one way back from a trial, and no second try: a slot that failed is not started again until something new is
put there. When neither slot can run, the rescue software does: it serves no model, but answers and takes updates.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from appliance.slots.record import Fallback, Run, Slot, SlotName, SlotRecord, Trial

MOST_UNREADY = 5  # starts in a row that end before they are ready, until the rescue software takes over for a while

CheckSlot = Callable[[SlotName], str]  # what is wrong with a slot's tree, '' if nothing is


@dataclass(frozen=True, slots=True)
class Choice:
    """What to start, and the record as it must be written before. `slot` None: the rescue software, for `reason`.

    again: whether it is worth to try the slot again after a while.
    """

    record: SlotRecord
    slot: SlotName | None
    reason: str = ""
    again: bool = False


def choose(record: SlotRecord, boot_id: str, check: CheckSlot) -> Choice:
    """Choose. `check` is asked about a slot only when it is about to start."""
    trial = record.trial
    if trial is not None:
        reason = _why_not(trial, check)
        if not reason:
            counted = replace(trial, left=trial.left - 1)
            return Choice(replace(record, trial=counted, run=Run(trial.slot, boot_id)), trial.slot)
        record = fall_back(record, reason)
    return _of_the_current(record, boot_id, check)


def fall_back(record: SlotRecord, reason: str) -> SlotRecord:
    """End a trial: what was before is current again, with its registry."""
    trial = record.trial
    assert trial is not None, "only a trial falls back"
    failed = record.slots[trial.slot]
    return record.with_slot(
        trial.slot,
        replace(failed, problem=reason),
        trial=None,
        fallback=Fallback(trial.slot, failed.version, trial.ticket, reason),
        run=None,
        restoring=trial.snapshot,
    )


def go_back(record: SlotRecord, reason: str) -> SlotRecord:
    """Let the other slot be current again because an operator wants it; raises ValueError if it cannot be."""
    back = record.current.other
    if not record.slots[back].usable:
        raise ValueError(record.slots[back].problem or f"slot {back} is empty")
    left = record.slots[record.current]
    return replace(
        record,
        current=back,
        trial=None,
        fallback=Fallback(record.current, left.version, record.confirmed, reason),
        run=None,
        confirmed="",
        undo="",
        restoring=record.undo,
    )


def confirm(record: SlotRecord) -> SlotRecord:
    """End a trial well: the slot that proved itself is current, the other one is kept for a way back."""
    trial = record.trial
    assert trial is not None, "only a trial is confirmed"
    return replace(record, current=trial.slot, trial=None, fallback=None, confirmed=trial.ticket, undo=trial.snapshot)


def ended(record: SlotRecord, how: str, *, counts: bool) -> SlotRecord:
    """Note how a start ended. `counts`: whether it says something against the slot."""
    run = record.run
    if run is None or not how:
        return replace(record, run=None) if run is not None else record
    trial = record.trial
    if trial is not None and trial.slot is run.slot:
        return replace(record, trial=replace(trial, ends=(*trial.ends, how)))
    if run.ready or not counts:
        return record
    return replace(record, run=replace(run, unready_before=run.unready_before + 1))


def _why_not(trial: Trial, check: CheckSlot) -> str:
    if trial.refused:
        return trial.refused
    if trial.left <= 0:
        return f"it did not come up: {'; '.join(trial.ends) or 'every start was cut off'}"
    return check(trial.slot)


def _of_the_current(record: SlotRecord, boot_id: str, check: CheckSlot) -> Choice:
    unready = record.run.unready_before if record.run is not None and record.run.boot_id == boot_id else 0
    if unready >= MOST_UNREADY:
        reason = f"slot {record.current} ended {unready} times in a row before it was ready"
        return Choice(replace(record, run=None), None, reason, again=True)
    problem = _problem(record, record.current, check)
    if not problem:
        return Choice(replace(record, run=Run(record.current, boot_id, unready_before=unready)), record.current)
    record = _marked(record, record.current, problem)
    other = record.current.other
    beside = _problem(record, other, check) or _too_old(record, other)
    if beside:
        reason = f"slot {record.current}: {problem}; slot {other}: {beside}"
        return Choice(replace(_marked(record, other, beside), run=None), None, reason)
    fallback = Fallback(record.current, record.slots[record.current].version, record.confirmed, problem)
    record = replace(record, current=other, fallback=fallback, run=Run(other, boot_id), confirmed="", undo="")
    return Choice(record, other)


def _problem(record: SlotRecord, name: SlotName, check: CheckSlot) -> str:
    slot = record.slots[name]
    if not slot.tree:
        return slot.problem or "it is empty"
    return slot.problem or check(name)


def _too_old(record: SlotRecord, name: SlotName) -> str:
    epoch, written = record.slots[name].data_epoch, record.slots[record.current].data_epoch
    if epoch < written:
        return f"its software {record.slots[name].version} reads state of form {epoch}, the box has {written}"
    return ""


def _marked(record: SlotRecord, name: SlotName, problem: str) -> SlotRecord:
    slot: Slot = record.slots[name]
    return record if not slot.tree or slot.problem else record.with_slot(name, replace(slot, problem=problem))
