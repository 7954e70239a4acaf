"""Erasure: keys first, nothing left, a certificate that a station can check; and it goes on after every cut."""

import os
import shutil
from pathlib import Path

import pytest

from appliance.daemon.state_lock import ERASURE_RECORD, daemon_lock, state_lock
from appliance.errors import AlreadyExists, CannotWrite, InvalidInput, StateUnusable
from appliance.maintenance.erasure import Medium, discard_free_space, erase_tree
from appliance.maintenance.erasure_certificate import SignedErasureCertificate
from appliance.maintenance.wipe import plan_wipe, wipe
from appliance.state_layout import StateLayout
from appliance.updates.device_store import DeviceStore
from tests.maintenance.custody import NOON, Cabinet, silent, tree
from tests.support.kill_points import killed_before
from tests.support.power_loss import copy_tree, lost_states, recorded
from tests.updates.boxes import SealedBox

NOT_DISCARDED = "The medium was not told to discard the freed blocks: it is this machine's own."


def wiped(box: SealedBox, certificate: Path) -> SignedErasureCertificate:
    with state_lock(box.layout):
        return wipe(box.layout, certificate, lambda: NOON, silent, lambda _: NOT_DISCARDED)


def receipt_key(layout: StateLayout) -> str:
    return DeviceStore(layout.device).make_key()


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    (tmp_path / "stick").mkdir()
    return tmp_path / "stick"


def test_nothing_is_left_and_the_certificate_is_the_boxs_own(cabinet: Cabinet, stick: Path) -> None:
    key, head, plan = receipt_key(cabinet.layout), cabinet.box.audit().head(), plan_wipe(cabinet.layout)

    wiped(cabinet.box, stick / "certificate.json")

    found = SignedErasureCertificate.parse((stick / "certificate.json").read_bytes()).verify(key)
    assert list(cabinet.layout.root.iterdir()) == []
    assert (found.serial, found.site) == ("A1", "hall-1")
    assert (found.audit_seq, found.audit_digest) == (head.seq, head.digest)
    assert (found.files, found.size_bytes) == (plan.files, plan.size_bytes)
    assert plan.files > 10
    assert [path.name for path in stick.iterdir()] == ["certificate.json"]


def test_the_software_stays_and_copies_of_the_registry_beside_it_go(cabinet: Cabinet, stick: Path) -> None:
    (cabinet.layout.slots / "A").mkdir(parents=True)
    (cabinet.layout.slots / "record.a").write_text("a")
    (cabinet.layout.slots / "registry-before-B.db").write_text("rows")
    wiped(cabinet.box, stick / "certificate.json")

    assert sorted(path.name for path in cabinet.layout.slots.iterdir()) == ["A", "record.a"]


def test_a_certificate_is_not_that_of_another_box_nor_one_that_was_changed(cabinet: Cabinet, stick: Path) -> None:
    with cabinet.another_box("other") as other:
        other.seal(cabinet.owner.root, serial="B2")
        stranger, key = receipt_key(other.layout), receipt_key(cabinet.layout)
        of_other = wiped(other, stick / "other.json")
    signed = wiped(cabinet.box, stick / "certificate.json")
    changed = signed.certificate.model_copy(update={"files": 1})

    with pytest.raises(InvalidInput, match="is not signed by the key"):
        signed.verify(stranger)
    with pytest.raises(InvalidInput, match="is not signed by the key"):
        signed.model_copy(update={"certificate": changed}).verify(key)
    with pytest.raises(InvalidInput, match="is not signed by the key"):
        signed.model_copy(update={"voucher": of_other.voucher, "signature": of_other.signature}).verify(key)


def test_a_box_that_nobody_provisioned_gives_a_record_and_no_proof(cabinet: Cabinet, stick: Path) -> None:
    with cabinet.another_box("bare") as bare:
        with bare.box():
            pass
        signed = wiped(bare, stick / "bare.json")

        assert list(bare.layout.root.iterdir()) == []
    with pytest.raises(InvalidInput, match="is not signed: the box had no receipt key"):
        signed.verify("0" * 64)


def test_a_box_whose_identity_is_damaged_can_be_erased(cabinet: Cabinet, stick: Path) -> None:
    cabinet.layout.identity.write_bytes(b"{}")
    wiped(cabinet.box, stick / "certificate.json")

    assert list(cabinet.layout.root.iterdir()) == []


def test_a_place_for_the_certificate_is_asked_for_before_anything_goes(cabinet: Cabinet, stick: Path) -> None:
    (stick / "there.json").write_text("mine")
    before = tree(cabinet.layout.root)
    refusals = [
        (cabinet.layout.root / "certificate.json", InvalidInput, "lies in what is erased"),
        (stick / "there.json", AlreadyExists, "is there already"),
        (stick / "nowhere" / "certificate.json", CannotWrite, "nothing can be written"),
    ]

    for place, kind, words in refusals:
        with pytest.raises(kind, match=words):
            wiped(cabinet.box, place)
    assert tree(cabinet.layout.root) == before


def test_a_certificate_that_finds_no_room_is_written_to_the_next_medium(
    cabinet: Cabinet, small_disk: Path, stick: Path
) -> None:
    key = receipt_key(cabinet.layout)
    (small_disk / "full").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with pytest.raises(CannotWrite, match="is erased, its certificate is not written"):
        wiped(cabinet.box, small_disk / "certificate.json")
    with pytest.raises(StateUnusable, match="was begun and has not ended"), daemon_lock(cabinet.layout):
        pass

    assert wiped(cabinet.box, stick / "certificate.json").verify(key).serial == "A1"


def test_content_is_overwritten_before_it_is_deleted(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    secret.chmod(0o444)
    with secret.open("rb") as still_open:
        erase_tree(secret, lambda _: None)
        left = still_open.read()

    assert not secret.exists()
    assert len(left) == 6000
    assert b"secret" not in left


def test_what_a_link_leads_to_is_not_erased(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "link").symlink_to(tmp_path / "mine")
    erase_tree(tmp_path / "state", lambda _: None)

    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("rotates", "file_system", "words"),
    [
        ("1", "ext4", ["rotating disk"]),
        ("0", "ext4", ["The medium is flash: worn-out and spare cells"]),
        ("0", "btrfs", ["btrfs: it writes elsewhere than in place", "The medium is flash"]),
        (None, None, ["may be flash"]),
    ],
)
def test_the_reach_of_overwriting_is_said_for_the_medium(
    tmp_path: Path, rotates: str | None, file_system: str | None, words: list[str]
) -> None:
    place = tmp_path.stat().st_dev
    number = f"{os.major(place)}:{os.minor(place)}"
    if rotates is not None:
        disk = tmp_path / "sys/devices/disk"
        (disk / "part").mkdir(parents=True)
        (disk / "queue").mkdir()
        (disk / "queue/rotational").write_text(f"{rotates}\n")
        (tmp_path / "sys/dev/block").mkdir(parents=True)
        (tmp_path / "sys/dev/block" / number).symlink_to(disk / "part")
        (tmp_path / "proc/self").mkdir(parents=True)
        line = f"36 35 {number} / /var rw,noatime - {file_system} /dev/x rw\n"
        (tmp_path / "proc/self/mountinfo").write_text(line)

    reach = Medium.of(tmp_path, tmp_path).reach

    assert len(reach) == len(words)
    for sentence, word in zip(reach, words, strict=True):
        assert word in sentence


def test_a_medium_that_cannot_discard_is_said_to_be_one(small_disk: Path) -> None:
    assert discard_free_space(small_disk).startswith("The medium was not told to discard the freed blocks: ")


def finished(box: SealedBox, stick: Path, key: str, place: str) -> None:
    """Whatever was cut off, the same command brings it to its end, and the certificate is the box's."""
    begun = (box.layout.root / ERASURE_RECORD).exists()
    if begun:
        with pytest.raises(StateUnusable), daemon_lock(box.layout):
            pass
    elif (stick / "certificate.json").exists():  # all was done but the last key
        assert {path.name for path in box.layout.root.iterdir()} <= {"erasure.ended"}, place
        SignedErasureCertificate.parse((stick / "certificate.json").read_bytes()).verify(key)
        return
    else:
        assert DeviceStore(box.layout.device).make_key() == key, f"{place}: keys went before it was written down"
    (stick / "certificate.json").unlink(missing_ok=True)
    assert wiped(box, stick / "certificate.json").verify(key).serial == "A1", place
    assert list(box.layout.root.iterdir()) == [], place


@pytest.mark.slow
def test_an_erasure_that_is_killed_anywhere_is_finished_by_the_same_command(cabinet: Cabinet, stick: Path) -> None:
    key, template, state = receipt_key(cabinet.layout), cabinet.layout.root, cabinet.directory / "copy"
    box, at, answer = SealedBox(state), 0, '"killed"'
    while answer == '"killed"':
        at += 11
        copy_tree(template, state)
        (stick / "certificate.json").unlink(missing_ok=True)
        answer = killed_before(at, lambda: lambda: wiped(box, stick / "certificate.json"))
        finished(box, stick, key, f"killed before operation {at}")
    box.close()

    assert at > 100


@pytest.mark.slow
def test_an_erasure_whose_power_is_cut_anywhere_is_finished_by_the_same_command(cabinet: Cabinet) -> None:
    key, disk = receipt_key(cabinet.layout), cabinet.directory / "disk"
    copy_tree(cabinet.layout.root, disk / "state")
    (disk / "stick").mkdir()
    box = SealedBox(disk / "state")
    operation = recorded(disk, lambda: lambda: wiped(box, disk / "stick" / "certificate.json"))
    for number, loss in enumerate(lost_states(operation, disk, stride=3)):
        if loss.is_done:
            assert list((disk / "state").iterdir()) == [], loss.place
        finished(box, disk / "stick", key, f"{number}: {loss.place}")
    box.close()
