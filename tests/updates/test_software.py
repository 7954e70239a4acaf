import platform

import pytest

from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from appliance.registry.ticket_records import TicketState
from appliance.slots.record import SlotName
from appliance.slots.tree import check_tree
from tests.slots.trees import make_tree
from tests.updates.boxes import KEEPS, ONE, TWO, Publisher, SealedBox, write_model

A, B = SlotName.A, SlotName.B


@pytest.fixture
def sealed_box(publisher, tmp_path):
    """A sealed box that does not run from a slot."""
    box = SealedBox(tmp_path / "bare")
    box.seal(publisher.root)
    yield box
    box.close()


@pytest.fixture
def box(box: SealedBox, tmp_path) -> SealedBox:
    """A sealed box whose software 0.1.0 runs from slot A."""
    box.layout.root.mkdir(parents=True, exist_ok=True)
    make_tree(tmp_path / "installed", "0.1.0")
    box.install_software(tmp_path / "installed")
    box.start()
    return box


def state_of(box: SealedBox) -> tuple[SlotName, TicketState, str]:
    with box.box() as opened:
        ticket = opened.tickets()[0]
    return box.places.slots.read().current, ticket.state, ticket.reason


def test_a_release_is_tried_at_the_next_start_and_stays_when_it_has_proved_itself(publisher: Publisher, box):
    stick = publisher.release("0.2.0")
    outcome = box.apply(stick)

    assert (outcome.code, outcome.result, outcome.software) == (0, "RESTARTING", "0.2.0")
    assert state_of(box) == (A, TicketState.TRIAL, "")
    assert box.places.slots.read().trial is not None
    assert not list((box.layout.blobs / "sha256").iterdir()), "the archive is needed no more"

    assert "software 0.2.0 from slot B, on trial" in box.start()
    finished = box.finish_open()
    assert finished is not None
    assert (finished.code, finished.result) == (0, "INSTALLED")
    assert finished.receipt.startswith("RECEIPTS") or (stick / finished.receipt).exists()
    assert state_of(box) == (B, TicketState.CONFIRMED, "")
    assert "software 0.2.0 from slot B" in box.start()
    assert box.finish_open() is None
    assert box.apply(stick).result == "NOTHING_TO_DO"
    assert box.events()[-2:] != []


def test_a_release_that_never_starts_is_taken_back_with_what_systemd_said(publisher, box):
    box.apply(publisher.release("0.2.0"))
    for _ in range(3):
        assert "0.2.0" in box.start()
    assert "slot B (software 0.2.0) failed: it did not come up" in box.start()
    finished = box.finish_open()

    assert finished is not None
    assert (finished.code, finished.result) == (33, "TRIAL_FAILED_ROLLED_BACK")
    current, state, reason = state_of(box)
    assert (current, state) == (A, TicketState.ROLLED_BACK)
    assert "did not come up" in reason
    assert "update_rolled_back" in box.events()
    assert box.finish_open() is None
    assert "0.1.0" in box.start()


def test_a_ticket_that_failed_is_tried_again_only_when_an_operator_wants_it(publisher, box):
    stick = publisher.release("0.2.0")
    box.apply(stick)
    for _ in range(4):
        box.start()
    box.finish_open()

    refused = box.apply(stick)
    assert refused.result == "PRECONDITION"
    assert "appliance update retry" in refused.hint
    assert box.apply(stick, retry=True).result == "RESTARTING"
    box.start()
    finished = box.finish_open()
    assert finished is not None
    assert finished.result == "INSTALLED"


def test_models_that_served_must_serve_under_the_new_software_too(publisher, box):
    box.apply(publisher.stick(1))
    assert box.desired() == ONE
    box.apply(publisher.release("0.2.0"))
    record = box.places.slots.read()

    assert record.trial is not None
    assert box.start()
    with box.box() as opened:
        version = opened.registry.version(KEEPS, ONE)
    for file in version.manifest.files.values():
        (box.layout.blobs / "sha256" / file.digest.removeprefix("sha256:")).chmod(0o644)
        (box.layout.blobs / "sha256" / file.digest.removeprefix("sha256:")).write_bytes(b"rotten")
    finished = box.finish_open()
    assert finished is not None
    assert finished.code == 33
    assert KEEPS in finished.message
    assert "failed: " in box.start()
    assert state_of(box)[0] is A


def test_one_ticket_may_bring_software_and_models_and_both_stay_or_neither(publisher, box):
    publisher.add(write_model(publisher.directory / "packages", 1))
    publisher.release("0.2.0")
    stick = publisher.cut("both", CutRequest(Devices(all=True)))
    outcome = box.apply(stick)

    assert outcome.result == "RESTARTING"
    assert [model.name for model in outcome.models] == [KEEPS]
    box.start()
    finished = box.finish_open()
    assert finished is not None
    assert finished.result == "INSTALLED"
    assert box.desired() == ONE

    assert box.roll_back().result == "RESTARTING"
    assert "0.1.0 from slot A" in box.start()
    back = box.finish_open()
    assert back is not None
    assert (back.code, back.result) == (0, "ROLLED_BACK")
    assert box.desired() is None
    assert state_of(box)[:2] == (A, TicketState.ROLLED_BACK)


def test_a_way_back_to_software_of_another_form_of_state_brings_the_registry_of_before(publisher, box):
    box.apply(publisher.stick(1))
    box.apply(publisher.release("0.2.0", data_epoch=2))
    box.start()
    box.finish_open()
    box.apply(publisher.stick(2))
    assert box.desired() == TWO
    box.roll_back()
    assert box.desired() == ONE
    assert box.roll_back().result == "RESTARTING"
    box.start()
    back = box.finish_open()

    assert back is not None
    assert back.result == "ROLLED_BACK"
    assert box.desired() == ONE
    assert box.places.slots.read().current is A


def test_a_release_for_another_python_is_refused_with_what_this_box_has(publisher, box):
    outcome = box.apply(publisher.release("0.2.0", python="3.99"))

    assert outcome.result == "PRECONDITION"
    assert "it has Python" in outcome.message


def test_a_box_without_a_gpu_takes_what_is_for_such_boxes_and_nothing_else(publisher, box):
    alone = box.apply(publisher.release("0.2.0", variant="gpu"))
    both = publisher.cut("both", CutRequest(Devices(all=True), items=tuple(publisher.variants("0.3.0"))))
    outcome = box.apply(both)

    assert alone.result == "PRECONDITION"
    assert f"on {platform.machine()}, cpu" in alone.message
    assert (outcome.result, outcome.software) == ("RESTARTING", "0.3.0")
    assert [name for name in outcome.skipped if name.endswith("-gpu.json")]


def test_a_release_that_cannot_read_this_boxs_state_is_refused(publisher, box):
    box.apply(publisher.release("0.3.0", data_epoch=3))
    box.start()
    box.finish_open()
    outcome = box.apply(publisher.release("0.4.0", data_epoch=2))

    assert outcome.result == "PRECONDITION"
    assert "form 2" in outcome.message
    assert "form 1" not in outcome.message


def test_an_appliance_that_does_not_run_from_a_slot_says_how_to_install_it(publisher, sealed_box):
    outcome = sealed_box.apply(publisher.release("0.2.0"))

    assert outcome.result == "PRECONDITION"
    assert "does not run from a slot" in outcome.message
    assert "install.sh" in outcome.hint


def test_what_runs_already_is_nothing_to_do(publisher, box, tmp_path):
    stick = publisher.release("0.2.0")
    box.apply(stick)
    box.start()
    box.finish_open()
    again = publisher.cut("again", CutRequest(Devices(all=True)))

    assert box.apply(again).result == "NOTHING_TO_DO"


def test_an_update_that_waits_for_a_restart_keeps_the_next_one_waiting(publisher, box):
    box.apply(publisher.release("0.2.0"))

    assert box.apply(publisher.stick(1)).result == "BUSY"


def test_a_box_whose_slots_are_both_bad_takes_software_and_nothing_else(publisher, box):
    record = box.places.slots.read()
    (box.places.slots.path(A) / "site/appliance/cli/main.py").write_text("rotten")
    make_tree(box.places.rescue, "0.0.1")
    for marker in box.runtime.glob("slot-*"):
        marker.unlink()
    assert record.current is A
    assert "rescue" in box.start()
    assert box.running is None
    refused = box.apply(publisher.stick(1))

    assert refused.result == "PRECONDITION"
    assert "takes software before anything else" in refused.message
    assert box.apply(publisher.release("0.2.0")).result == "RESTARTING"
    assert "0.2.0 from slot B" in box.start()
    finished = box.finish_open()
    assert finished is not None
    assert finished.result == "INSTALLED"
    assert check_tree(box.places.slots.path(B), box.places.slots.read().slots[B].tree) == ""


def test_software_that_systemd_never_heard_of_as_ready_may_not_stay(publisher, box):
    box.apply(publisher.release("0.2.0"))
    box.start()
    refused = box.finish_open(ready=False)

    assert refused is not None
    assert refused.code == 33
    assert "has not heard" in refused.message
    assert "0.1.0 from slot A" in box.start()


def test_inspect_says_which_release_a_stick_brings_and_changes_nothing(publisher, box):
    before = box.places.slots.read()

    assert box.inspect(publisher.release("0.2.0")).software == "0.2.0"
    assert box.places.slots.read() == before
