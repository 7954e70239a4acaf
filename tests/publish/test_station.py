"""The owner's signing station: what it signs, what it refuses, and what it writes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Targets

from appliance.bundle.inventory import Inventory
from appliance.bundle.layout import BLOBS_DIRECTORY, BUNDLE_DIRECTORY
from appliance.bundle.model_item import ModelItem
from appliance.bundle.oci_layers import MANIFEST_TYPE, digest_of_bytes
from appliance.bundle.ticket import Devices
from appliance.durable import hash_file
from appliance.errors import AlreadyExists, ApplianceError, InvalidInput, NotFound
from appliance.model.identity import digest_hex
from appliance.publish.bundle_check import check_bundle
from appliance.publish.cutting import CutRequest, cut, renew
from appliance.publish.items import add_model, add_publisher
from appliance.publish.key_changes import add_key, revoke_key, role_keys, rotate_key
from appliance.publish.signed_targets import add_target
from appliance.publish.station import Station
from appliance.publish.thinning import write_thin
from tests.updates.boxes import PASSPHRASE, PUBLISHER, Publisher, SealedBox, silent, write_model

ALL = CutRequest(Devices(all=True))


def checked(publisher: Publisher, stick: Path, now: datetime | None = None):
    return check_bundle(stick, publisher.root, now or datetime.now(UTC), silent)


def test_key_files_are_private_encrypted_and_named_for_what_they_sign(publisher: Publisher) -> None:
    files = sorted((publisher.directory / "station" / "keys").iterdir())

    assert len([file for file in files if file.name.startswith("root-")]) == 3
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert all(file.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----") for file in files)
    assert all(b"bcrypt" in _decoded(file) for file in files)


def _decoded(file: Path) -> bytes:
    import base64  # noqa: PLC0415

    return base64.b64decode(b"".join(file.read_bytes().splitlines()[1:-1]))


def test_a_wrong_passphrase_and_a_short_one_are_refused(publisher: Publisher, tmp_path: Path) -> None:
    station = publisher.directory / "station"
    with (
        Station.opened(station, lambda _: b"another one than it is") as opened,
        pytest.raises(InvalidInput, match="unlocked"),
    ):
        add_publisher(opened, "rival")
    with Station.opened(station, lambda name: PASSPHRASE if "targets" in name else b"short") as opened:  # noqa: SIM117
        with pytest.raises(InvalidInput, match="at least 12"):
            add_publisher(opened, "rival")


def test_keys_are_found_where_their_safe_is_plugged_in(publisher: Publisher, tmp_path: Path) -> None:
    keys, safe = publisher.directory / "station" / "keys", tmp_path / "safe"
    safe.mkdir()
    for file in keys.glob("targets-*"):
        file.rename(safe / file.name)
    with publisher.opened() as station, pytest.raises(NotFound, match="2 keys must sign 'targets', 0 were found"):
        add_publisher(station, "rival")

    with Station.opened(keys.parent, lambda _: PASSPHRASE, keys=[safe], kdf_rounds=1) as station:
        assert add_publisher(station, "rival") == "models-rival"


def test_a_bundle_is_whole_and_its_images_are_readable_as_oci_says(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1, weights=bytes(20_000)), part_bytes=4096)
    stick = publisher.cut("stick", ALL)
    found = checked(publisher, stick)
    oci = stick / BUNDLE_DIRECTORY / "oci"
    index = json.loads((oci / "index.json").read_bytes())

    assert json.loads((oci / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    for entry in index["manifests"]:
        manifest = (stick / BUNDLE_DIRECTORY / BLOBS_DIRECTORY / entry["digest"].removeprefix("sha256:")).read_bytes()
        assert (entry["mediaType"], entry["size"], entry["digest"]) == (
            MANIFEST_TYPE,
            len(manifest),
            digest_of_bytes(manifest),
        )
        document = json.loads(manifest)
        for blob in (document["config"], *document["layers"]):
            path = stick / BUNDLE_DIRECTORY / BLOBS_DIRECTORY / blob["digest"].removeprefix("sha256:")
            assert (path.stat().st_size, hash_file(path)) == (blob["size"], path.name)
    (item,) = found.items
    assert len(item.files["1/model.onnx"].parts) == 5
    assert found.parts == len(item.parts)


def test_the_same_package_gives_the_same_manifest(publisher: Publisher, tmp_path: Path) -> None:
    publisher.add(write_model(tmp_path / "a", 1))
    with publisher.opened() as station:
        first = dict(station.store.latest(f"models-{PUBLISHER}").signed.targets)
        add_model(station, write_model(tmp_path / "b", 1), PUBLISHER, silent)
        again = station.store.latest(f"models-{PUBLISHER}").signed.targets

        assert first == again
        with pytest.raises(AlreadyExists, match="signed with other content"):
            add_model(station, write_model(tmp_path / "c", 1, weights=b"other"), PUBLISHER, silent)


@pytest.mark.parametrize("path", ["../../x", "/etc/passwd", "a//b", "a/./b", "a/..", "models/x/\x00", "a" * 600, ""])
def test_an_unsafe_target_path_is_never_signed(publisher: Publisher, path: str) -> None:
    with publisher.opened() as station, pytest.raises(InvalidInput, match="unsafe target path"):
        add_target(station, Targets(), path, b"x")


def test_a_bundle_is_not_cut_if_a_role_expires_before_its_last_day(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    late = CutRequest(Devices(all=True), install_by=datetime.now(UTC) + timedelta(days=500))

    with pytest.raises(InvalidInput, match=f"'models-{PUBLISHER}' expires") as caught:
        publisher.cut("late", late)
    assert "publish renew" in caught.value.hint
    with pytest.raises(InvalidInput, match="has passed"):
        publisher.cut("past", CutRequest(Devices(all=True), install_by=datetime.now(UTC) - timedelta(days=1)))


def test_what_expires_too_early_is_renewed(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    publisher.now += timedelta(days=300)
    with pytest.raises(InvalidInput, match="expires"):
        publisher.cut("early", ALL)
    with publisher.opened() as station:
        renew(station, f"models-{PUBLISHER}")
        for role in ("software", "config-hall-1", "config-hall-2"):
            renew(station, role)

    assert publisher.cut("renewed", ALL).is_dir()


def test_nothing_to_cut_and_unknown_items_are_said(publisher: Publisher) -> None:
    with pytest.raises(NotFound, match="nothing to put"):
        publisher.cut("empty", ALL)
    publisher.add(write_model(publisher.directory / "p", 1))
    with pytest.raises(NotFound, match=r"models/factory/keeps/1\.json"):
        publisher.cut("unknown", CutRequest(Devices(all=True), items=("models/factory/keeps/9.json",)))


def test_a_bundle_on_the_stick_is_only_replaced_if_that_was_asked_for(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    stick = publisher.cut("stick", ALL)
    with publisher.opened() as station:
        with pytest.raises(AlreadyExists, match="--replace"):
            cut(station, ALL, stick, silent)
        cut(station, ALL, stick, silent, replace=True)

    assert checked(publisher, stick).ticket.seq == 2  # what was refused took no number
    assert [path.name for path in stick.iterdir()] == [BUNDLE_DIRECTORY]


@pytest.mark.parametrize("what", ["metadata", "targets", "oci"])
def test_a_bundle_that_was_changed_is_found(publisher: Publisher, what: str) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    stick = publisher.cut("stick", ALL)
    victims = {
        "metadata": "metadata/timestamp.json",
        "targets": "targets/tickets/*.json",
        "oci": f"oci/blobs/sha256/{digest_hex(_weights(publisher).parts[0].digest)}",
    }
    (path,) = (stick / BUNDLE_DIRECTORY).glob(victims[what])
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:] if len(data) > 41 else b"!" + data[1:])

    with pytest.raises(ApplianceError):
        checked(publisher, stick)


def _weights(publisher: Publisher):
    (target,) = (publisher.directory / "station" / "targets" / "models").rglob("*.1.json")
    return ModelItem.parse(target.read_bytes()).files["1/model.onnx"]


class TestKeys:
    def test_a_key_is_added_rotated_and_revoked(self, publisher: Publisher, box: SealedBox) -> None:
        with publisher.opened() as station:
            added = add_key(station, "root")
            rotated = rotate_key(station, "targets", role_keys(station)["targets"][0][0][:8])
            revoked = revoke_key(station, "root", role_keys(station)["root"][0][0])
            roots = station.store.versions("root")

        assert added.added
        assert rotated.signed_again == ("targets",)
        assert revoked.revoked
        assert roots == [1, 2, 3, 4]
        assert box.apply(publisher.stick(1)).code == 0

    def test_a_role_keeps_as_many_keys_as_must_sign(self, publisher: Publisher) -> None:
        with publisher.opened() as station:
            with pytest.raises(InvalidInput, match="none can be spared"):
                revoke_key(station, "snapshot", role_keys(station)["snapshot"][0][0])
            with pytest.raises(NotFound, match="no key that begins"):
                revoke_key(station, "root", "ffffffffffff")
            with pytest.raises(NotFound, match="no role 'nonesuch'"):
                add_key(station, "nonesuch")

    def test_a_new_publishers_key_signs_what_was_signed_before(self, publisher: Publisher, box: SealedBox) -> None:
        publisher.add(write_model(publisher.directory / "p", 1))
        with publisher.opened() as station:
            role = f"models-{PUBLISHER}"
            change = rotate_key(station, role, role_keys(station)[role][0][0])

        assert role in change.signed_again
        assert box.apply(publisher.cut("stick", ALL)).code == 0


def test_a_thin_bundle_serves_a_box_that_has_the_rest_and_no_other(
    publisher: Publisher, box: SealedBox, tmp_path: Path
) -> None:
    assert box.apply(publisher.stick(1)).code == 0
    with box.box() as opened:
        files = tuple(sorted(digest_hex(digest) for digest in opened.present()))
    whole = publisher.stick(2)
    (tmp_path / "thin").mkdir()
    path, saved = write_thin(checked(publisher, whole), Inventory(serial="A1", files=files), tmp_path / "thin")
    other = SealedBox(tmp_path / "other")
    other.seal(publisher.root, serial="B2")

    assert saved > 0
    assert checked(publisher, path).left_out > 0
    assert other.apply(tmp_path / "thin").result == "INCOMPLETE_MEDIUM"
    assert box.apply(tmp_path / "thin").code == 0
    other.close()
