"""Backups: whole, secret, never half there, and taken while the box serves."""

import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from appliance.errors import AlreadyExists, ApplianceError, Busy, CannotWrite, Failed, InvalidInput, NotFound
from appliance.maintenance.backup import plan_backup
from appliance.maintenance.backup_key import make_key_pair
from appliance.maintenance.backup_lock import Passphrase, PrivateKey, PublicKey
from appliance.maintenance.backup_reading import opened_backup, verify_backup
from appliance.updates.journal import OpenUpdate
from tests.maintenance.custody import NOON, PASSPHRASE, SEALED_SERIAL, Cabinet, silent
from tests.updates.boxes import KEEPS


def names_in(backup: Path) -> set[str]:
    with opened_backup(backup, PASSPHRASE) as opened:
        return {entry.name for entry in opened.entries()}


def test_a_backup_says_which_box_it_is_of_and_what_served(cabinet: Cabinet) -> None:
    manifest = verify_backup(cabinet.back_up(), PASSPHRASE, silent)

    assert (manifest.serial, manifest.site, manifest.ticket_seq) == (SEALED_SERIAL, "hall-1", 2)
    assert manifest.models == (f"{KEEPS} 1",)
    assert manifest.floors["timestamp"] >= 1
    assert manifest.audit_seq == cabinet.box.audit().head().seq


def test_a_dry_run_says_the_same_and_writes_nothing(cabinet: Cabinet) -> None:
    planned = plan_backup(cabinet.layout, cabinet.settings, lambda: NOON)

    assert not list(cabinet.directory.glob("backup*"))
    assert verify_backup(cabinet.back_up(), PASSPHRASE, silent) == planned


def test_all_that_is_the_boxs_own_is_in_it_and_nothing_derived(cabinet: Cabinet) -> None:
    cabinet.settings.write_text("[log]\n")
    names = names_in(cabinet.back_up())

    assert {"state/registry.db", "state/device/receipt.key", "state/device/identity.json"} <= names
    assert {"state/trust/current", "state/trust/floor.a", "state/trust/floor.b"} <= names
    assert {"state/updates/site.toml", "state/audit/head.json", "settings/appliance.toml"} <= names
    stored = {path.name for path in (cabinet.layout.blobs / "sha256").iterdir()}
    assert {name.removeprefix("state/blobs/sha256/") for name in names if "/blobs/" in name} == stored
    assert not any(name.startswith(("state/views", "state/slots", "state/staging")) for name in names)


def test_nothing_can_be_read_in_the_file(cabinet: Cabinet) -> None:
    data = cabinet.back_up().read_bytes()
    key = (cabinet.layout.device / "receipt.key").read_bytes()

    for secret in (key, key.splitlines()[1], SEALED_SERIAL.encode() + b'"', b"version 1 ", b"SQLite format"):
        assert secret not in data
    assert (cabinet.directory / "backup").stat().st_mode & 0o777 == 0o600


def test_another_passphrase_does_not_open_it(cabinet: Cabinet) -> None:
    with pytest.raises(InvalidInput, match="cannot be opened with this passphrase"):
        verify_backup(cabinet.back_up(), Passphrase(b"another one"), silent)


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(InvalidInput, match="has 8 characters, at least 12"):
        Passphrase.chosen(b"password")


def test_a_backup_for_a_public_key_is_opened_by_the_private_one_alone(cabinet: Cabinet) -> None:
    public = make_key_pair(cabinet.directory / "safe.key", b"twelve characters")
    make_key_pair(cabinet.directory / "other.key", b"twelve characters")
    backup = cabinet.back_up("for-key", PublicKey.parse(public.read_bytes(), "safe.key.pub"))

    pem = (cabinet.directory / "safe.key").read_bytes()
    assert verify_backup(backup, PrivateKey.parse(pem, "safe.key", b"twelve characters"), silent).serial == "A1"
    other = PrivateKey.parse((cabinet.directory / "other.key").read_bytes(), "other.key", b"twelve characters")
    for wrong in (other, PASSPHRASE):
        with pytest.raises(InvalidInput, match="it is locked with x25519"):
            verify_backup(backup, wrong, silent)
    with pytest.raises(InvalidInput, match="wrong passphrase"):
        PrivateKey.parse(pem, "safe.key", b"something else")


@pytest.mark.parametrize("part", [0.0, 0.001, 0.02, 0.3, 0.7, 0.999, 1.0])
def test_a_bit_that_changed_anywhere_is_found(cabinet: Cabinet, part: float) -> None:
    backup = cabinet.back_up()
    data = bytearray(backup.read_bytes())
    data[min(int(len(data) * part), len(data) - 1)] ^= 1
    backup.write_bytes(data)

    with pytest.raises(InvalidInput):
        verify_backup(backup, PASSPHRASE, silent)


CHUNK = 1024 * 1024 + 16


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: data[: -(len(data) % CHUNK)],
    ],
    ids=["a byte short", "half", "a byte more", "empty", "chunk short"],
)
def test_a_file_that_is_cut_off_or_longer_is_found(cabinet: Cabinet, spoil: Callable[[bytes], bytes]) -> None:
    (cabinet.layout.blobs / "sha256" / sha256(bytes(3 * CHUNK)).hexdigest()).write_bytes(bytes(3 * CHUNK))
    backup = cabinet.back_up()
    backup.write_bytes(spoil(backup.read_bytes()))

    with pytest.raises(InvalidInput):
        verify_backup(backup, PASSPHRASE, silent)


def test_a_file_that_is_there_is_never_overwritten(cabinet: Cabinet) -> None:
    (cabinet.directory / "backup").write_text("mine")

    with pytest.raises(AlreadyExists):
        cabinet.back_up()
    assert (cabinet.directory / "backup").read_text() == "mine"


def test_content_that_has_rotted_ends_the_backup_and_leaves_no_file(cabinet: Cabinet) -> None:
    rotten = next((cabinet.layout.blobs / "sha256").iterdir())
    rotten.chmod(0o644)
    rotten.write_bytes(b"x" * rotten.stat().st_size)

    refused_without_a_file(cabinet, Failed, "has rotted")


def test_an_open_update_is_waited_for(cabinet: Cabinet) -> None:
    update = OpenUpdate(stage="STAGE", ticket_id="spring", ticket_digest="sha256:" + "0" * 64, seq=9)
    (cabinet.layout.updates / "journal.json").write_bytes(update.to_bytes())

    refused_without_a_file(cabinet, Busy, "ticket spring is open")


def refused_without_a_file(cabinet: Cabinet, kind: type[ApplianceError], words: str) -> None:
    with pytest.raises(kind, match=words):
        cabinet.back_up()
    assert not list(cabinet.directory.glob("backup*"))
    assert list(cabinet.layout.staging.iterdir()) == []


def test_a_disk_that_is_full_leaves_no_file(cabinet: Cabinet, small_disk: Path) -> None:
    big = bytes(2 * 1024 * 1024)
    (cabinet.layout.blobs / "sha256" / sha256(big).hexdigest()).write_bytes(big)

    with pytest.raises(CannotWrite) as refused:
        cabinet.back_up_to(small_disk / "backup")
    assert "a medium with more room" in refused.value.hint
    assert list(small_disk.iterdir()) == []


def test_a_place_inside_of_the_state_or_nowhere_is_refused(cabinet: Cabinet) -> None:
    with pytest.raises(InvalidInput, match="lies in the state directory"):
        cabinet.back_up_to(cabinet.layout.root / "backup")
    with pytest.raises(NotFound, match="no directory"):
        cabinet.back_up_to(cabinet.directory / "nowhere" / "backup")


def test_what_is_not_a_backup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"appliance backup 2\n{}\n")

    with pytest.raises(InvalidInput, match="no backup of an appliance"):
        verify_backup(tmp_path / "other", PASSPHRASE, silent)
    with pytest.raises(InvalidInput, match="not there"):
        verify_backup(tmp_path / "none", PASSPHRASE, silent)


@pytest.mark.slow
def test_a_large_model_takes_no_more_memory_than_a_small_one(cabinet: Cabinet) -> None:
    big = bytes(64 * 1024 * 1024)
    (cabinet.layout.blobs / "sha256" / sha256(big).hexdigest()).write_bytes(big)
    del big
    tracemalloc.start()
    try:
        backup = cabinet.back_up()
        verify_backup(backup, PASSPHRASE, silent)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert backup.stat().st_size > 64 * 1024 * 1024
    assert peak_bytes < 16 * 1024 * 1024
