"""Power cuts at every file operation of an update: old or new, never neither, and no way back for old sticks."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.publish.key_changes import role_keys, rotate_key
from appliance.registry.ticket_records import TicketState
from appliance.updates.outcome import UpdateOutcome
from tests.support.disk_journal import DiskJournal
from tests.support.power_loss import copy_tree, lost_states, recorded
from tests.updates.boxes import ONE, TWO, Publisher, SealedBox
from tests.updates.test_kill import assert_settled, assert_sound, is_rolled_back

STRIDES = (pytest.param(1, marks=pytest.mark.exhaustive), 7)  # a stride of 1 looks at every state: minutes


@pytest.fixture
def older(publisher: Publisher, box: SealedBox) -> Path:
    """The stick that the box was installed from."""
    stick = publisher.stick(1, answer=1.0)
    assert box.apply(stick).code == 0
    return stick


@pytest.mark.slow
@pytest.mark.parametrize("stride", STRIDES)
def test_an_update_whose_power_is_cut_anywhere_can_be_applied_again(
    publisher: Publisher, box: SealedBox, older: Path, tmp_path: Path, stride: int
) -> None:
    newer = publisher.stick(2, answer=1.0)
    state = tmp_path / "cut" / "state"
    journal = journal_of(box, state, lambda copy: copy.apply(newer))

    seen = []
    for loss in lost_states(journal, state, stride):
        copy = SealedBox(state)
        seen.append(copy.desired())
        assert_sound(copy, {TWO} if loss.is_done else {ONE, TWO}, loss.place)
        outcome = copy.apply(newer)
        assert outcome.code in (0, 10), f"{loss.place}: {outcome}"
        assert_settled(copy, TWO, TicketState.CONFIRMED, loss.place)
        assert copy.apply(older).result == "ROLLBACK", loss.place
        copy.close()
    assert set(seen) == {ONE, TWO}
    assert len(seen) > 500 // stride


@pytest.mark.slow
@pytest.mark.parametrize("stride", STRIDES)
def test_an_update_that_fails_its_trial_and_whose_power_is_cut_anywhere_leaves_the_version_before(
    publisher: Publisher, box: SealedBox, older: Path, tmp_path: Path, stride: int
) -> None:
    newer = publisher.stick(2, answer=5.0)
    good = publisher.stick(3, answer=1.0)
    state = tmp_path / "cut" / "state"
    journal = journal_of(box, state, lambda copy: copy.apply(newer), 33)

    for loss in lost_states(journal, state, stride):
        copy = SealedBox(state)
        assert_sound(copy, {ONE} if loss.is_done else {ONE, TWO}, loss.place)
        outcome = copy.apply(newer)
        assert outcome.code in (32, 33), f"{loss.place}: {outcome}"
        assert_settled(copy, ONE, TicketState.ROLLED_BACK, loss.place)
        assert copy.apply(older).result == "ROLLBACK", loss.place
        assert copy.apply(good).code == 0, loss.place
        copy.close()


@pytest.mark.slow
@pytest.mark.parametrize("stride", STRIDES)
def test_a_rollback_whose_power_is_cut_anywhere_is_one_step_back_or_none(
    publisher: Publisher, box: SealedBox, older: Path, tmp_path: Path, stride: int
) -> None:
    assert box.apply(publisher.stick(2, answer=1.0)).code == 0
    state = tmp_path / "cut" / "state"
    journal = journal_of(box, state, SealedBox.roll_back)

    seen = []
    for loss in lost_states(journal, state, stride):
        copy = SealedBox(state)
        seen.append(copy.desired())
        assert_sound(copy, {ONE} if loss.is_done else {ONE, TWO}, loss.place)
        if not is_rolled_back(copy):
            copy.roll_back()
        assert_settled(copy, ONE, TicketState.ROLLED_BACK, loss.place)
        assert copy.apply(older).result == "ROLLBACK", loss.place
        copy.close()
    assert set(seen) == {ONE, TWO}
    assert len(seen) > 10 // stride


@pytest.mark.slow
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("damaged", [False, True])
def test_new_keys_of_the_owner_stay_wherever_the_power_is_cut(
    publisher: Publisher, box: SealedBox, older: Path, tmp_path: Path, damaged: bool, stride: int
) -> None:
    with publisher.opened() as station:
        rotate_key(station, "root", role_keys(station)["root"][0][0])
    newer = publisher.stick(2, answer=1.0, weights=b"w" * 100_000)
    whole = shutil.copytree(newer, tmp_path / "whole")
    if damaged:
        largest = max((newer / "APPLIANCE-UPDATE" / "oci" / "blobs" / "sha256").iterdir(), key=size_of)
        largest.write_bytes(b"x" * size_of(largest))
    state = tmp_path / "cut" / "state"
    journal = journal_of(box, state, lambda copy: copy.apply(newer), 29 if damaged else 0)

    roots = []
    for loss in lost_states(journal, state, stride):
        copy = SealedBox(state)
        roots.append(root_of(copy, loss.place))
        assert roots[-1] == 2 or not loss.is_done, loss.place
        assert copy.desired() in ({ONE} if damaged else {ONE, TWO}), loss.place
        outcome = copy.apply(whole)
        assert outcome.code in (0, 10), f"{loss.place}: {outcome}"
        assert root_of(copy, loss.place) == 2
        assert copy.apply(older).result == "ROLLBACK", loss.place
        copy.close()
    assert set(roots) == {1, 2}


def root_of(box: SealedBox, place: str) -> int:
    """Which root the box trusts: never one below the floor."""
    with box.box() as opened:
        opened.trust.recover()
        assert opened.trust.root().version >= opened.trust.floor().root, place
        return opened.trust.floor().root


def size_of(path: Path) -> int:
    return path.stat().st_size


def journal_of(
    box: SealedBox, state: Path, operation: Callable[[SealedBox], UpdateOutcome], code: int = 0
) -> DiskJournal:
    copy_tree(box.layout.root, state)

    def act() -> None:
        copy = SealedBox(state)
        outcome = operation(copy)
        copy.close()
        assert outcome.code == code, outcome

    return recorded(state, lambda: act)
