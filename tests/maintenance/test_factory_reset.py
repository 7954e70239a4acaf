"""A reset leaves who the box is and whom it trusts, and nothing else; wherever it is cut off."""

import pytest

from appliance.daemon.state_lock import daemon_lock
from appliance.errors import Busy
from appliance.maintenance.factory_reset import Reset, factory_reset, plan_reset
from appliance.updates.device_store import DeviceStore
from appliance.updates.journal import OpenUpdate
from appliance.updates.trust_store import TrustStore
from tests.maintenance.custody import NOON, Cabinet, tree
from tests.support.kill_points import killed_before
from tests.support.power_loss import copy_tree, lost_states, recorded
from tests.updates.boxes import ONE, SealedBox


def reset(box: SealedBox) -> Reset:
    with daemon_lock(box.layout):
        return factory_reset(box.layout, lambda: NOON)


def test_a_reset_box_knows_who_it_is_and_serves_nothing(cabinet: Cabinet) -> None:
    key = DeviceStore(cabinet.layout.device).make_key()
    trust, events = TrustStore(cabinet.layout.trust).versions(), cabinet.box.events()
    (cabinet.layout.slots / "A").mkdir(parents=True)
    (cabinet.layout.slots / "registry-before-B.db").write_bytes(b"copy")
    (cabinet.layout.root / "restored-appliance.toml").write_text("old")
    (cabinet.layout.engines / "one").mkdir(parents=True)
    (cabinet.layout.engines / "one" / "engine").write_bytes(b"engine")

    done = reset(cabinet.box)

    assert done.serial == "A1"
    assert sorted(path.name for path in cabinet.layout.root.iterdir()) == [
        "audit", "device", "slots", "trust", "updates",
    ]  # fmt: skip
    assert [path.name for path in cabinet.layout.slots.iterdir()] == ["A"]
    assert [path.name for path in cabinet.layout.updates.iterdir()] in ([], ["clock.json"])
    assert DeviceStore(cabinet.layout.device).make_key() == key
    assert TrustStore(cabinet.layout.trust).versions() == trust
    assert cabinet.box.events() == [*events, "factory_reset"]
    assert cabinet.box.audit().verify() == []


def test_after_a_reset_the_newest_stick_is_taken_and_an_older_one_is_not(cabinet: Cabinet) -> None:
    older = cabinet.directory / "owner" / "sticks" / "v1"
    newest = cabinet.directory / "owner" / "sticks" / "one-with-settings"
    reset(cabinet.box)

    assert cabinet.box.apply(older).result == "ROLLBACK"
    assert cabinet.box.apply(newest).code == 0
    assert cabinet.box.desired() == ONE


def test_a_dry_run_counts_and_changes_nothing(cabinet: Cabinet) -> None:
    before = tree(cabinet.layout.root)
    plan = plan_reset(cabinet.layout)

    assert tree(cabinet.layout.root) == before
    assert reset(cabinet.box) == plan
    assert plan.files > 5


def test_a_box_with_a_damaged_registry_can_be_reset(cabinet: Cabinet) -> None:
    cabinet.layout.database.write_bytes(b"no database at all" * 1000)
    reset(cabinet.box)

    assert not cabinet.layout.database.exists()
    with cabinet.box.box() as opened:
        assert opened.registry.models() == []


def test_a_box_that_nobody_provisioned_can_be_reset(cabinet: Cabinet) -> None:
    with cabinet.another_box("bare") as bare:
        with bare.box():
            pass

        assert reset(bare).serial == ""
        assert not bare.layout.database.exists()


def test_software_on_trial_is_waited_for(cabinet: Cabinet) -> None:
    update = OpenUpdate(
        stage="COMMIT", ticket_id="new", ticket_digest="sha256:" + "0" * 64, seq=9, software="ab" * 32
    )
    (cabinet.layout.updates / "journal.json").write_bytes(update.to_bytes())
    before = tree(cabinet.layout.root)

    with pytest.raises(Busy, match="new software is on trial"):
        reset(cabinet.box)
    assert tree(cabinet.layout.root) == before


def assert_old_or_reset(box: SealedBox, place: str) -> bool:
    with daemon_lock(box.layout):
        pass
    is_reset = "factory_reset" in box.events()
    assert box.layout.database.exists() != is_reset, place
    assert (box.layout.blobs.exists(), (box.layout.updates / "site.toml").exists()) == (not is_reset, not is_reset)
    assert DeviceStore(box.layout.device).identity() is not None, place
    assert box.audit().verify() == [], place
    assert TrustStore(box.layout.trust).versions()["timestamp"] == 2, place
    return is_reset


@pytest.mark.slow
def test_a_reset_that_is_killed_anywhere_leaves_the_box_before_or_after_it(cabinet: Cabinet) -> None:
    template, state = cabinet.layout.root, cabinet.directory / "copy"
    box, seen, at = SealedBox(state), set(), 0
    while True:
        at += 1
        copy_tree(template, state)
        answer = killed_before(at, lambda: lambda: reset(box))
        seen.add(assert_old_or_reset(box, f"killed before operation {at}"))
        if answer != '"killed"':
            break
    box.close()

    assert seen == {False, True}


@pytest.mark.slow
def test_a_reset_whose_power_is_cut_anywhere_leaves_the_box_before_or_after_it(cabinet: Cabinet) -> None:
    template, state = cabinet.layout.root, cabinet.directory / "copy"
    copy_tree(template, state)
    box, seen = SealedBox(state), set()
    for loss in lost_states(recorded(state, lambda: lambda: reset(box)), state, stride=3):
        found = assert_old_or_reset(box, loss.place)
        assert found or not loss.is_done, loss.place
        seen.add(found)
    box.close()

    assert seen == {False, True}
