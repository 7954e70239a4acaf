"""Power cuts at every file operation of the audit log, of provisioning, of receipts on a stick."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.bundle.receipt import SignedReceipt
from appliance.state_layout import StateLayout
from appliance.updates.audit_entry import AuditEvent, AuditHead
from appliance.updates.audit_export import verify_export
from appliance.updates.device_store import DeviceStore
from appliance.updates.outcome import UpdateOutcome
from appliance.updates.receipts import sign_receipt, write_receipt
from tests.support.power_loss import PowerLoss, lost_states, power_losses, recorded
from tests.updates.test_audit_kill import (
    NOON,
    assert_whole,
    device,
    empty,
    full_log,
    full_segment,
    provisioned,
    small_log,
    torn_line,
    two_entries,
)

__all__ = ["device"]  # a fixture


@pytest.mark.parametrize("prepare", [empty, two_entries, full_segment, full_log, torn_line])
def test_an_entry_whose_power_is_cut_anywhere_is_there_or_not_and_the_chain_is_whole(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    prepare(template)
    before = [entry.event for entry in small_log(template).entries()]

    def append() -> None:
        small_log(state).append(AuditEvent.UPDATE_ACCEPTED)

    for loss in power_losses(template, state, lambda: append):
        log = small_log(state)
        log.recover()
        assert log.verify() == [], loss.place
        events = [entry.event for entry in log.entries()]
        assert events.count("update_accepted") in ((1,) if loss.is_done else (0, 1)), loss.place
        assert "audit_damaged" not in events, loss.place
        assert prepare is full_log or events[: len(before)] == before, loss.place
        log.append(AuditEvent.UPDATE_INSTALLED)
        assert log.verify() == [], loss.place


@pytest.mark.slow
def test_a_box_whose_power_is_cut_while_it_is_provisioned_is_sealed_wholly_or_not_at_all(tmp_path: Path) -> None:
    state = tmp_path / "state"
    seen = set()

    for loss in lost_states(recorded(state, lambda: lambda: provisioned(state)), state):
        layout = StateLayout(state)
        box = DeviceStore(layout.device)
        seen.add(box.is_sealed)
        assert box.is_sealed or not loss.is_done, loss.place
        if box.is_sealed:
            assert_whole(layout, loss.place)
        provisioned(state)
        assert_whole(layout, loss.place)
        assert list(layout.device.glob("*.tmp")) == [], loss.place
    assert seen == {False, True}


def test_a_receipt_whose_power_is_cut_leaves_the_others_readable(tmp_path: Path, device: DeviceStore) -> None:
    outcome = UpdateOutcome(0, "INSTALLED", "installed", ticket_id="spring", ticket_seq=7, clock="trusted")
    signed = sign_receipt(device, outcome, serving=(), time=NOON, software="0.1.0", audit=AuditHead())
    template, stick = tmp_path / "template", tmp_path / "stick"
    template.mkdir()
    write_receipt(template, signed)

    for loss in power_losses(template, stick, lambda: lambda: write_receipt(stick, signed)):
        names = sorted(path.name for path in (stick / "RECEIPTS").glob("*.json"))
        complete = ["BOX-7-spring-1.json", "BOX-7-spring-2.json"]
        assert names in ([complete] if loss.is_done else [complete[:1], complete]), loss.place
        assert write_receipt(stick, signed).path == f"RECEIPTS/BOX-7-spring-{len(names) + 1}.json", loss.place
        for path in (stick / "RECEIPTS").iterdir():
            assert SignedReceipt.parse(path.read_bytes()) == signed, loss.place


@pytest.mark.slow
def test_an_export_whose_power_is_cut_can_be_repeated(tmp_path: Path, device: DeviceStore) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    two_entries(template / "audit")

    def export() -> None:
        small_log(state / "audit").export(state / "stick", device)

    for loss in power_losses(template, state, lambda: export):
        if loss.is_done:
            assert_exported(state, device, loss)
        exported = small_log(state / "audit").export(state / "stick", device)
        assert verify_export(exported.log, device.make_key()) == [], loss.place
        assert small_log(state / "audit").verify() == [], loss.place


def assert_exported(state: Path, device: DeviceStore, loss: PowerLoss) -> None:
    (log,) = (state / "stick").glob("*.jsonl")
    assert verify_export(log, device.make_key()) == [], loss.place
