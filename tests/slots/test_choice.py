from dataclasses import replace

import pytest

from appliance.slots.choice import MOST_UNREADY, Choice, choose, confirm, ended, go_back
from appliance.slots.record import TRIES, Fallback, Slot, SlotName, SlotRecord, Trial

A, B = SlotName.A, SlotName.B
OLD, NEW = Slot("a" * 64, "0.1.0", 1), Slot("b" * 64, "0.2.0", 1)
TICKET = "sha256:" + "1" * 64


def on_trial(left: int = TRIES, **changes: object) -> SlotRecord:
    trial = replace(Trial(B, left, TICKET), **changes)
    return SlotRecord(A, {A: OLD, B: NEW}, trial)


def whole(_: SlotName) -> str:
    return ""


def start(record: SlotRecord) -> Choice:
    return choose(record, "boot-1", whole)


def test_a_trial_gets_three_starts_and_then_what_was_before_runs_for_good():
    record, started = on_trial(), []
    for _ in range(6):
        choice = start(record)
        started.append(choice.slot)
        record = ended(choice.record, "it ended with exit status 1", counts=True)

    assert started == [B, B, B, A, A, A]
    assert record.trial is None
    assert record.fallback is not None
    assert record.fallback.ticket == TICKET
    assert record.fallback.reason.count("exit status 1") == TRIES
    assert not record.slots[B].usable


def test_a_start_is_counted_before_it_happens():
    choice = start(on_trial())

    assert choice.record.trial is not None
    assert choice.record.trial.left == TRIES - 1


def test_a_trial_that_its_own_gate_refused_gets_no_second_start():
    choice = start(on_trial(refused="digits: golden answers differ"))

    assert choice.slot is A
    assert choice.record.fallback == Fallback(B, "0.2.0", TICKET, "digits: golden answers differ")


def test_a_trial_whose_tree_is_damaged_never_starts():
    choice = choose(on_trial(), "boot-1", lambda name: "x has changed" if name is B else "")

    assert choice.slot is A
    assert choice.record.slots[B].problem == "x has changed"


def test_a_fallback_brings_back_the_registry_of_before():
    choice = start(on_trial(0, snapshot="registry-before-B.db"))

    assert choice.record.restoring == "registry-before-B.db"


def test_what_proved_itself_is_current_and_the_other_is_kept_for_a_way_back():
    record = confirm(on_trial(snapshot="registry-before-B.db"))

    assert (record.current, record.trial, record.undo) == (B, None, "registry-before-B.db")
    back = go_back(record, "the operator wants it")
    assert (back.current, back.restoring) == (A, "registry-before-B.db")
    assert back.fallback == Fallback(B, "0.2.0", TICKET, "the operator wants it")


def test_there_is_no_way_back_to_an_empty_or_failed_slot():
    with pytest.raises(ValueError, match="slot B is empty"):
        go_back(SlotRecord(A, {A: OLD, B: Slot()}), "")
    with pytest.raises(ValueError, match="it crashed"):
        go_back(SlotRecord(A, {A: OLD, B: replace(NEW, problem="it crashed")}), "")


def test_a_damaged_current_slot_lets_the_other_one_run_and_says_so():
    choice = choose(SlotRecord(A, {A: OLD, B: NEW}), "boot-1", lambda name: "bit rot" if name is A else "")

    assert choice.slot is choice.record.current is B
    assert choice.record.fallback == Fallback(A, "0.1.0", "", "bit rot")


def test_software_that_cannot_read_the_state_does_not_take_over():
    newer = replace(NEW, data_epoch=2)
    choice = choose(SlotRecord(B, {A: OLD, B: newer}), "boot-1", lambda name: "bit rot" if name is B else "")

    assert choice.slot is None
    assert choice.reason == "slot B: bit rot; slot A: its software 0.1.0 reads state of form 1, the box has 2"


def test_two_damaged_slots_leave_the_rescue_software_and_no_loop():
    choice = choose(SlotRecord(A, {A: OLD, B: NEW}), "boot-1", lambda name: f"{name} rotted")

    assert choice.slot is None
    assert not choice.again
    assert start(choice.record).slot is None


def test_software_that_never_gets_ready_gives_way_to_the_rescue_software_for_a_while():
    record = SlotRecord(A, {A: OLD, B: Slot()})
    for _ in range(MOST_UNREADY):
        choice = start(record)
        assert choice.slot is A
        record = ended(choice.record, "it ended with signal SEGV", counts=True)

    rescue = start(record)
    assert rescue.slot is None
    assert rescue.again
    assert start(rescue.record).slot is A


def test_another_start_of_the_machine_begins_to_count_anew():
    record = SlotRecord(A, {A: OLD, B: Slot()})
    for boot in range(3 * MOST_UNREADY):
        choice = choose(record, f"boot-{boot}", whole)
        assert choice.slot is A
        record = ended(choice.record, "it ended with signal SEGV", counts=True)


def test_ends_that_say_nothing_against_the_software_do_not_count():
    record = SlotRecord(A, {A: OLD, B: Slot()})
    for _ in range(3 * MOST_UNREADY):
        choice = start(record)
        assert choice.slot is A
        record = ended(choice.record, "it ended with exit status 75", counts=False)
