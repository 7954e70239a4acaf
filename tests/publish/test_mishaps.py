"""What goes wrong at a signing station: lost files, wrong words, names that no stick holds. Nothing gets worse."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from appliance.bundle.layout import BUNDLE_DIRECTORY
from appliance.bundle.policy import Policy
from appliance.bundle.ticket import Devices, Requirements
from appliance.errors import AlreadyExists, Failed, InvalidInput, NotFound
from appliance.publish.bundle_check import check_bundle
from appliance.publish.ceremony import hold_ceremony, safe_list
from appliance.publish.cutting import CutRequest, cut
from appliance.publish.items import add_model, add_publisher
from appliance.publish.key_changes import add_key, revoke_key, role_keys, rotate_key
from appliance.publish.station import Station
from tests.updates.boxes import PASSPHRASE, PUBLISHER, Publisher, SealedBox, silent, write_model

ALL = CutRequest(Devices(all=True))


@pytest.mark.parametrize("lost", ["*.targets.json", "*.t*.json"])
def test_a_ceremony_never_replaces_a_root_that_boxes_may_trust(publisher: Publisher, lost: str) -> None:
    metadata = publisher.directory / "station" / "metadata"
    root = (metadata / "1.root.json").read_bytes()
    for path in metadata.glob(lost):
        path.unlink()

    with publisher.opened(new=True) as station, pytest.raises(Failed, match="has lost files") as caught:
        hold_ceremony(station, Policy())
    assert "restore" in caught.value.hint
    assert (metadata / "1.root.json").read_bytes() == root


def test_a_ceremony_that_lost_all_but_the_root_is_not_taken_for_one_that_was_cut_off(publisher: Publisher) -> None:
    metadata = publisher.directory / "station" / "metadata"
    for path in metadata.iterdir():
        if path.name != "1.root.json":
            path.unlink()

    with publisher.opened(new=True) as station, pytest.raises(Failed, match="has lost files"):
        hold_ceremony(station, Policy())
    assert (metadata / "1.root.json").is_file()


def test_the_list_for_safes_names_the_keys_that_count_and_no_others(publisher: Publisher) -> None:
    keys = publisher.directory / "station" / "keys"
    left_over = keys / "root-1-0123456789abcdef.key"  # by a ceremony that was cut off
    shutil.copy(next(keys.glob("root-1-*.key")), left_over)
    with publisher.opened() as station:
        add_publisher(station, "acme-2")
        add_publisher(station, "acme")
        acme, root = safe_list(station, "models-acme"), safe_list(station, "root")

    assert [name.rpartition("-")[0] for name in acme.files] == ["models-acme-1"]
    assert [name.rpartition("-")[0] for name in root.files] == ["root-1", "root-2", "root-3"]
    assert left_over.name not in root.files


def test_boxes_are_provisioned_with_the_newest_root(publisher: Publisher, tmp_path: Path) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    signed_by_the_thief = publisher.cut("stolen", ALL)
    with publisher.opened() as station:
        for role in ("timestamp", "snapshot"):
            rotate_key(station, role, role_keys(station)[role][0][0])
        root = station.root_file.read_bytes()
        assert root == station.store.path("root", 3).read_bytes()
    box = SealedBox(tmp_path / "new")
    box.seal(root)

    assert box.apply(signed_by_the_thief).code != 0
    assert box.apply(publisher.cut("mine", ALL)).code == 0
    box.close()


def test_a_root_file_that_was_lost_is_there_again_with_the_next_bundle(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    (publisher.directory / "station" / "root.json").unlink()
    publisher.cut("stick", ALL)

    assert (publisher.directory / "station" / "root.json").read_bytes() == publisher.root


def test_a_lost_counter_goes_on_above_the_last_ticket(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    publisher.cut("first", ALL)
    publisher.cut("second", ALL)
    counter = publisher.directory / "station" / "counter"
    for content in (None, "0\n", "1\n"):
        before = int(counter.read_text())
        counter.unlink()
        if content is not None:
            counter.write_text(content)
        stick = publisher.cut(f"counter-{content}", ALL)
        assert check_bundle(stick, publisher.root, datetime.now(UTC), silent).ticket.seq == before + 1


@pytest.mark.parametrize("content", [b"seven\n", b"\xff", "٣".encode(), b""])
def test_a_damaged_counter_is_said(publisher: Publisher, content: bytes) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    (publisher.directory / "station" / "counter").write_bytes(content)

    with pytest.raises(InvalidInput, match="expected a number"):
        publisher.cut("stick", ALL)


def test_content_of_a_target_that_was_lost_is_said(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    next((publisher.directory / "station" / "targets" / "models").rglob("*.json")).unlink()

    with pytest.raises(InvalidInput, match="is lost, or not what was signed"):
        publisher.cut("stick", ALL)


def test_content_that_rotted_does_not_reach_a_stick(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1, weights=bytes(5000)))
    blobs = publisher.directory / "station" / "blobs" / "sha256"
    victim = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    victim.chmod(0o644)
    victim.write_bytes(b"!" + victim.read_bytes()[1:])

    with pytest.raises(Failed, match="has rotted"):
        publisher.cut("stick", ALL)
    assert not (publisher.directory / "sticks" / "stick" / BUNDLE_DIRECTORY).exists()
    publisher.add(write_model(publisher.directory / "again", 1, weights=bytes(5000)))
    assert publisher.cut("healed", ALL).is_dir()


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (CutRequest(Devices(groups=("Pi lot!",))), "invalid name of a group"),
        (CutRequest(Devices(all=True), notes="x" * 3000), "notes: String should have at most"),
        (CutRequest(Devices(all=True), notes="\udcff"), "cannot be written"),
        (CutRequest(Devices(all=True), hardware=("x" * 200,)), "hardware"),
        (CutRequest(Devices(all=True), ticket_id="../x"), "id: String should match"),
        (CutRequest(Devices(all=True), requires=Requirements(free_bytes=1), allow_from=-1), "allow_from"),
    ],
)
def test_a_request_that_no_ticket_can_hold_takes_no_number(
    publisher: Publisher, request_: CutRequest, reason: str
) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))

    with pytest.raises(InvalidInput, match=reason):
        publisher.cut("bad", request_)
    assert not (publisher.directory / "station" / "counter").exists()


@pytest.mark.parametrize("place", ["none", "file"])
def test_a_place_where_no_bundle_can_lie_is_said_before_anything_is_signed(
    publisher: Publisher, tmp_path: Path, place: str
) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    (tmp_path / "file").write_bytes(b"")
    with publisher.opened() as station:
        before = sorted(path.name for path in station.store.directory.iterdir())
        with pytest.raises(InvalidInput, match="is not a directory"):
            cut(station, ALL, tmp_path / place, silent)
        assert sorted(path.name for path in station.store.directory.iterdir()) == before


def test_models_that_are_one_on_a_stick_are_refused(publisher: Publisher, tmp_path: Path) -> None:
    publisher.add(write_model(tmp_path / "a", 1))
    package = write_model(tmp_path / "b", 1)
    for name, reason in (("Keeps", "one name on a stick"), ("keeps.", "ends with a dot")):
        renamed = package.rename(package.with_name(name))
        with publisher.opened() as station, pytest.raises(InvalidInput, match=reason):
            add_model(station, renamed, PUBLISHER, silent)
        package = renamed


def test_a_model_is_not_copied_before_its_key_is_at_hand(publisher: Publisher, tmp_path: Path) -> None:
    keys = publisher.directory / "station" / "keys"
    (key,) = keys.glob(f"models-{PUBLISHER}-*.key")
    key.rename(tmp_path / key.name)

    with publisher.opened() as station:
        with pytest.raises(NotFound, match=f"1 keys must sign 'models-{PUBLISHER}', 0 were found"):
            add_model(station, write_model(tmp_path / "p", 1), PUBLISHER, silent)
        assert list(station.blobs.digests()) == []


def test_a_version_with_other_content_is_refused_and_leaves_no_target(publisher: Publisher, tmp_path: Path) -> None:
    publisher.add(write_model(tmp_path / "a", 1))
    targets = publisher.directory / "station" / "targets"
    before = sorted(path.name for path in targets.rglob("*.json"))

    with publisher.opened() as station, pytest.raises(AlreadyExists, match="signed with other content"):
        add_model(station, write_model(tmp_path / "b", 1, weights=b"other"), PUBLISHER, silent)
    assert sorted(path.name for path in targets.rglob("*.json")) == before


def _not_encrypted(data: bytes) -> bytes:
    private = load_ssh_private_key(data, PASSPHRASE)
    return private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _another_kind(_: bytes) -> bytes:
    private = generate_private_key(SECP256R1())
    return private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(PASSPHRASE))


def _anothers(_: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    private = Ed25519PrivateKey.generate()
    encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(1).build(PASSPHRASE)
    return private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda _: b"", _not_encrypted, _another_kind, _anothers])
def test_a_key_file_that_is_something_else_is_said(publisher: Publisher, damage: Callable[[bytes], bytes]) -> None:
    for path in (publisher.directory / "station" / "keys").glob("targets-*.key"):
        path.write_bytes(damage(path.read_bytes()))

    with publisher.opened() as station, pytest.raises(InvalidInput, match=r"targets-1-.*\.key"):
        add_publisher(station, "rival")


def test_new_key_files_ask_for_a_passphrase_of_their_own(publisher: Publisher) -> None:
    asked: list[str] = []

    def new(name: str) -> bytes:
        asked.append(name)
        return b"quite another one than the first"

    directory = publisher.directory / "station"
    with Station.opened(directory, lambda _: PASSPHRASE, new_passphrase=new, kdf_rounds=1) as station:
        added = add_key(station, "tickets").added
    (name,) = asked
    assert name == f"tickets-3-{added[:16]}.key"
    with pytest.raises(ValueError):
        load_ssh_private_key((directory / "keys" / name).read_bytes(), PASSPHRASE)


def test_a_lost_key_is_replaced_by_those_that_are_left(publisher: Publisher, box: SealedBox) -> None:
    keys = publisher.directory / "station" / "keys"
    with publisher.opened() as station:
        lost = role_keys(station)["root"][0][0]
    next(keys.glob(f"root-*-{lost[:16]}.key")).unlink()
    with publisher.opened() as station:
        changed = rotate_key(station, "root", lost[:10])
        assert changed.revoked == lost
        assert lost not in role_keys(station)["root"][0]
        assert revoke_key(station, "tickets", role_keys(station)["tickets"][0][0]).signed_again == ("tickets",)

    assert box.apply(publisher.stick(1)).code == 0
