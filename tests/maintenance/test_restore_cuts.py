"""Restores and backups that are cut off: the old state or the new one, and no file that only looks whole."""

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.daemon.state_lock import daemon_lock
from appliance.maintenance.backup_reading import verify_backup
from appliance.state_layout import StateLayout
from appliance.updates.device_store import DeviceStore
from tests.maintenance.custody import PASSPHRASE, Cabinet, silent
from tests.maintenance.test_restore import OLDER, restored
from tests.support.kill_points import killed_before
from tests.support.power_loss import copy_tree, lost_states, recorded
from tests.updates.boxes import ONE, TWO, SealedBox


def changed_since(cabinet: Cabinet) -> Path:
    """A backup of version 1, of a box that serves version 2 by now."""
    backup = cabinet.back_up()
    assert cabinet.box.apply(cabinet.owner.stick(2, answer=1.0)).code == 0
    return backup


def settled(state: Path) -> "SealedBox":
    """The next start of the box."""
    box = SealedBox(state)
    with daemon_lock(box.layout):
        pass
    return box


def assert_old_or_new(state: Path, place: str) -> int:
    box = settled(state)
    try:
        desired = box.desired()
        assert desired in (ONE, TWO), place
        assert box.audit().verify() == [], place
        assert ("state_restored" in box.events()) == (desired == ONE), place
        with box.box() as opened:
            assert opened.registry.verify() == [], place
            assert opened.trust.versions()["timestamp"] == 3, place
        assert DeviceStore(box.layout.device).is_sealed, place
        assert not (state / "exchange").exists(), place
        return int(desired)
    finally:
        box.close()


@pytest.mark.slow
def test_a_restore_that_is_killed_anywhere_leaves_the_old_state_or_the_new_one(cabinet: Cabinet) -> None:
    backup, template, state = changed_since(cabinet), cabinet.layout.root, cabinet.directory / "copy"
    box = SealedBox(state)
    seen, at = set(), 0
    while True:
        at += 7
        copy_tree(template, state)
        answer = killed_before(at, lambda: lambda: restored(box, backup, OLDER))
        seen.add(assert_old_or_new(state, f"killed before operation {at}"))
        if answer != '"killed"':
            break
    box.close()

    assert seen == {1, 2}
    assert at > 60


@pytest.mark.slow
def test_a_restore_whose_power_is_cut_anywhere_leaves_the_old_state_or_the_new_one(cabinet: Cabinet) -> None:
    backup, template, state = changed_since(cabinet), cabinet.layout.root, cabinet.directory / "copy"
    copy_tree(template, state)
    box = SealedBox(state)
    seen = set()
    for loss in lost_states(recorded(state, lambda: lambda: restored(box, backup, OLDER)), state, stride=7):
        found = assert_old_or_new(state, loss.place)
        assert found == 1 or not loss.is_done, loss.place
        seen.add(found)
    box.close()

    assert seen == {1, 2}


@pytest.mark.slow
def test_a_backup_that_is_killed_anywhere_leaves_no_file_that_looks_whole(cabinet: Cabinet) -> None:
    target, at = cabinet.directory / "backup", 0
    while True:
        at += 1
        answer = killed_before(at, lambda: cabinet.back_up)
        if answer != '"killed"':
            break
        with suppress(FileNotFoundError):
            verify_backup(target, PASSPHRASE, silent) if target.exists() else None
            target.unlink()
    assert at > 10
    assert verify_backup(target, PASSPHRASE, silent).serial == "A1"
    assert [path.name for path in cabinet.directory.glob("backup*")] == ["backup"]
    assert StateLayout(cabinet.layout.root).staging.is_dir()
    shutil.rmtree(cabinet.layout.staging)
