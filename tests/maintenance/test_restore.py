"""Restores: the same box again, never an older trust, never half of anything."""

import os
from pathlib import Path

import pytest

from appliance.daemon.state_lock import daemon_lock
from appliance.errors import AlreadyExists, ApplianceError, CannotWrite, InvalidInput, StateUnusable
from appliance.maintenance.backup_lock import Passphrase
from appliance.maintenance.backup_reading import verify_backup
from appliance.maintenance.restore import RESTORED_SETTINGS, Restored, plan_restore, restore
from appliance.maintenance.restore_rules import Permission, PresentBox, require_restorable
from appliance.updates.device_store import DeviceStore
from appliance.updates.trust_store import TrustStore
from tests.maintenance.custody import NOON, PASSPHRASE, Cabinet, silent, tree
from tests.updates.boxes import KEEPS, ONE, TWO, SealedBox
from tests.updates.first_roots import root_file

NOBODY = 65534
REPLACE = Permission(replace=True)
OLDER = Permission(replace=True, older=True)
EMPTY = Permission()


def restored(box: SealedBox, backup: Path, said: Permission = EMPTY) -> Restored:
    with daemon_lock(box.layout):
        return restore(box.layout, backup, PASSPHRASE, said, lambda: NOON, silent)


def refused(box: SealedBox, backup: Path, kind: type[ApplianceError], words: str, said: Permission = EMPTY) -> None:
    before = tree(box.layout.root)
    with pytest.raises(kind, match=words):
        restored(box, backup, said)
    assert tree(box.layout.root) == before
    assert not (box.layout.root / "exchange").exists()
    with pytest.raises(kind, match=words):
        plan_restore(box.layout, backup, PASSPHRASE, said, silent)


def test_a_broken_box_is_replaced_by_a_new_one_that_is_the_same(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    with cabinet.another_box("spare") as spare:
        done = restored(spare, backup)

        assert done.manifest.serial == "A1"
        assert spare.desired() == ONE
        assert DeviceStore(spare.layout.device).make_key() == DeviceStore(cabinet.layout.device).make_key()
        assert TrustStore(spare.layout.trust).versions() == TrustStore(cabinet.layout.trust).versions()
        assert (spare.layout.updates / "site.toml").read_bytes() == b'[log]\nlevel = "DEBUG"\n'
        assert spare.audit().verify() == []
        assert spare.events() == [*cabinet.box.events(), "state_restored"]
        with spare.box() as opened:
            assert opened.registry.verify() == []
            assert opened.registry.is_signed(KEEPS, ONE)
        assert not (spare.layout.root / "exchange").exists()


def test_a_copy_of_the_registry_before_does_not_come_back_later(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    copy = cabinet.layout.slots / "registry-before-B.db"
    copy.parent.mkdir()
    copy.write_bytes(b"older")
    restored(cabinet.box, backup, REPLACE)

    assert not copy.exists()


def test_a_restored_box_goes_on_with_the_next_stick(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    with cabinet.another_box("spare") as spare:
        restored(spare, backup)

        assert spare.apply(cabinet.owner.stick(2, answer=1.0)).code == 0
        assert spare.desired() == TWO


def test_the_key_of_the_box_stays_private(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    with cabinet.another_box("spare") as spare:
        restored(spare, backup)

        assert (spare.layout.device / "receipt.key").stat().st_mode & 0o777 == 0o600
        stored = list((spare.layout.blobs / "sha256").iterdir())
        assert {path.stat().st_mode & 0o777 for path in stored} == {0o444}


def test_a_box_that_is_not_empty_is_left_alone(cabinet: Cabinet) -> None:
    refused(cabinet.box, cabinet.back_up(), AlreadyExists, "this box is not empty: it is A1")


def test_a_damaged_registry_is_replaced(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    cabinet.layout.database.write_bytes(b"no database at all" * 1000)
    for suffix in ("-wal", "-shm"):
        cabinet.layout.database.with_name(f"registry.db{suffix}").unlink(missing_ok=True)

    done = restored(cabinet.box, backup, REPLACE)

    assert cabinet.box.desired() == ONE
    stored = sum(path.stat().st_size for path in (cabinet.layout.blobs / "sha256").iterdir())
    assert done.reused_bytes == stored


def test_content_that_rotted_on_the_box_comes_from_the_backup(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    rotten = next((cabinet.layout.blobs / "sha256").iterdir())
    rotten.chmod(0o644)
    rotten.write_bytes(b"x" * rotten.stat().st_size)
    restored(cabinet.box, backup, REPLACE)

    with cabinet.box.box() as opened:
        assert opened.registry.verify() == []


def test_another_box_is_never_made_of_this_one(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    with cabinet.another_box("other") as other:
        other.seal(cabinet.owner.root, serial="B2")

        refused(other, backup, InvalidInput, "the backup is of A1, this box is B2", OLDER)


def test_another_owners_box_of_the_same_serial_is_refused(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    with cabinet.another_box("other") as other:
        other.seal(root_file())
        before = tree(other.layout.root)
        with pytest.raises(InvalidInput, match="trusts another owner"):
            restored(other, backup, OLDER)

        assert tree(other.layout.root) == before


def test_an_older_backup_is_refused_until_a_person_says_that_models_may_go_back(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    old_stick = cabinet.owner.stick(2, answer=1.0)
    newest = cabinet.owner.cut("newest")
    assert cabinet.box.apply(newest).code == 0
    floor = TrustStore(cabinet.layout.trust).versions()
    refused(cabinet.box, backup, InvalidInput, "the backup is older than this box", REPLACE)

    done = restored(cabinet.box, backup, OLDER)

    assert done.trust_stays
    assert cabinet.box.desired() == ONE
    assert TrustStore(cabinet.layout.trust).versions() == floor
    assert cabinet.box.apply(old_stick).result == "ROLLBACK"
    assert cabinet.box.apply(newest).code == 0
    assert cabinet.box.desired() == TWO
    assert cabinet.box.audit().verify() == []


def test_a_box_that_lost_its_trust_needs_a_person_to_take_that_of_the_backup(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    assert cabinet.box.apply(cabinet.owner.stick(2, answer=1.0)).code == 0
    floor = TrustStore(cabinet.layout.trust).versions()
    (cabinet.layout.trust / "current").unlink()
    refused(cabinet.box, backup, InvalidInput, "what this box trusts cannot be read", REPLACE)

    restored(cabinet.box, backup, OLDER)

    assert TrustStore(cabinet.layout.trust).versions() == floor


def test_a_dry_run_changes_nothing_and_says_the_same(cabinet: Cabinet) -> None:
    cabinet.settings.write_text("[log]\n")
    backup, before = cabinet.back_up(), tree(cabinet.layout.root)

    planned = plan_restore(cabinet.layout, backup, PASSPHRASE, REPLACE, silent)

    assert tree(cabinet.layout.root) == before
    assert restored(cabinet.box, backup, REPLACE) == planned


def test_the_operators_settings_lie_there_to_be_compared(cabinet: Cabinet) -> None:
    cabinet.settings.write_text("[server]\nname = 'old'\n")
    done = restored(cabinet.box, cabinet.back_up(), REPLACE)

    assert done.settings == cabinet.layout.root / RESTORED_SETTINGS
    assert done.settings.read_text() == "[server]\nname = 'old'\n"


def test_a_backup_that_is_cut_off_changes_nothing(cabinet: Cabinet) -> None:
    backup = cabinet.back_up()
    backup.write_bytes(backup.read_bytes()[:-1])

    refused(cabinet.box, backup, InvalidInput, "damaged or cut off", REPLACE)


def test_the_software_stays(cabinet: Cabinet) -> None:
    slot = cabinet.layout.slots / "A" / "software.json"
    slot.parent.mkdir(parents=True)
    slot.write_text("{}")
    restored(cabinet.box, cabinet.back_up(), REPLACE)

    assert slot.read_text() == "{}"


def test_a_backup_of_a_newer_version_is_refused(cabinet: Cabinet) -> None:
    manifest = verify_backup(cabinet.back_up(), PASSPHRASE, silent).model_copy(update={"registry_schema": 99})

    with pytest.raises(StateUnusable, match="schema 99"):
        require_restorable(manifest, PresentBox(is_empty=True), EMPTY, 4)


def test_a_disk_without_room_changes_nothing(cabinet: Cabinet, small_disk: Path) -> None:
    backup = cabinet.back_up()
    box = SealedBox(small_disk / "state")
    try:
        with pytest.raises(CannotWrite, match="the backup needs"):
            plan_restore(box.layout, backup, PASSPHRASE, EMPTY, silent)
    finally:
        box.close()


def test_a_wrong_passphrase_changes_nothing(cabinet: Cabinet) -> None:
    backup = cabinet.back_up("locked", Passphrase(b"something else here", cost=2))

    refused(cabinet.box, backup, InvalidInput, "cannot be opened with this passphrase", REPLACE)


@pytest.mark.root
def test_what_root_restores_belongs_to_whom_the_state_belongs(cabinet: Cabinet) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    backup = cabinet.back_up()
    os.chown(cabinet.layout.root, NOBODY, NOBODY)
    restored(cabinet.box, backup, REPLACE)

    came = [
        path for name in ("blobs", "device", "trust", "updates") for path in (cabinet.layout.root / name).rglob("*")
    ]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in came} == {(NOBODY, NOBODY)}
    assert cabinet.layout.database.stat().st_uid == NOBODY
