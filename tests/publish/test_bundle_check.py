"""What a station checks of a bundle agrees with what a box does: neither passes what the other refuses."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Targets

from appliance.bundle.layout import BUNDLE_DIRECTORY, TICKET_TARGET
from appliance.bundle.ticket import Devices
from appliance.errors import ApplianceError, InvalidInput, NotFound
from appliance.publish.bundle_check import CheckedBundle, check_bundle
from appliance.publish.cutting import CutRequest, _sign_snapshot
from appliance.publish.items import add_publisher
from appliance.publish.key_changes import add_key
from appliance.publish.signed_targets import add_target
from tests.updates.boxes import PUBLISHER, SITE, Publisher, SealedBox, silent, write_model

ALL = CutRequest(Devices(all=True))


def checked(publisher: Publisher, stick: Path, now: datetime | None = None) -> CheckedBundle:
    return check_bundle(stick, publisher.root, now or datetime.now(UTC), silent)


def test_what_a_publisher_signed_under_anothers_name_is_refused_by_station_and_box(
    publisher: Publisher, box: SealedBox
) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    path = f"models/{PUBLISHER}/keeps/9.json"
    with publisher.opened() as station:
        add_publisher(station, "rival")
        targets: Targets = station.store.latest("models-rival").signed
        manifest = next((station.targets / "models" / PUBLISHER / "keeps").glob("*.1.json")).read_bytes()
        add_target(station, targets, path, manifest)
        station.signing.sign("models-rival", targets)
    stick = publisher.cut("stick", CutRequest(Devices(all=True), items=(path,)))

    assert box.apply(stick).result == "BAD_SIGNATURE"
    with pytest.raises(InvalidInput, match="nobody who may sign"):
        checked(publisher, stick)


def test_a_ticket_that_a_publisher_signed_counts_for_nothing(publisher: Publisher, box: SealedBox) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    publisher.cut("first", ALL)
    with publisher.opened() as station:
        role = f"models-{PUBLISHER}"
        targets: Targets = station.store.latest(role).signed
        add_target(station, targets, TICKET_TARGET, next((station.targets / "tickets").iterdir()).read_bytes())
        station.signing.sign(role, targets)
        station.signing.sign("tickets", Targets())
        _sign_snapshot(station, station.now() + timedelta(days=1))
    stick = newest_metadata_on(publisher, publisher.directory / "sticks" / "first")

    assert "carries no ticket" in box.apply(stick).message
    with pytest.raises(InvalidInput, match="nobody who may sign tickets/"):
        checked(publisher, stick)


def test_other_content_than_the_ticket_names_is_refused(publisher: Publisher, box: SealedBox) -> None:
    """The dispatcher chose this content; the site's administrator may not put other content in its place."""
    publisher.add_settings(b'[log]\nlevel = "WARNING"\n')
    publisher.cut("first", ALL)
    publisher.add_settings(b'[log]\nlevel = "DEBUG"\n')
    with publisher.opened() as station:
        _sign_snapshot(station, station.now() + timedelta(days=1))
    stick = newest_metadata_on(publisher, publisher.directory / "sticks" / "first")

    assert box.apply(stick).result == "HASH_MISMATCH"
    with pytest.raises(InvalidInput, match=r"the ticket wants config/hall-1/main\.toml with"):
        checked(publisher, stick)


def newest_metadata_on(publisher: Publisher, stick: Path) -> Path:
    """Put what the station signed last, and every target, on a stick that was cut before."""
    station, bundle = publisher.directory / "station", stick / BUNDLE_DIRECTORY
    shutil.copytree(station / "metadata", bundle / "metadata", dirs_exist_ok=True)
    shutil.copytree(station / "targets", bundle / "targets", dirs_exist_ok=True)
    with publisher.opened() as opened:
        newest = opened.store.path("timestamp", opened.store.versions("timestamp")[-1])
    shutil.copy(newest, bundle / "metadata" / "timestamp.json")
    return stick


def test_settings_that_no_box_takes_are_found(publisher: Publisher) -> None:
    with publisher.opened() as station:
        targets = Targets()
        add_target(station, targets, f"config/{SITE}/main.toml", b"[log]\nlevel = 3\n")
        station.signing.sign(f"config-{SITE}", targets)

    with pytest.raises(InvalidInput, match=r"log\.level"):
        checked(publisher, publisher.cut("stick", ALL))


@pytest.mark.parametrize(
    "missing", ["2.root.json", "3.root.json", "timestamp.json", "*.snapshot.json", "*.software.json"]
)
def test_a_missing_file_of_metadata_is_named(publisher: Publisher, missing: str) -> None:
    with publisher.opened() as station:
        for _ in range(3):
            add_key(station, "root")
    publisher.add(write_model(publisher.directory / "p", 1))
    stick = publisher.cut("stick", ALL)
    (path,) = (stick / BUNDLE_DIRECTORY / "metadata").glob(missing)
    path.unlink()

    with pytest.raises(NotFound, match=path.name.replace(".", r"\.")) as caught:
        checked(publisher, stick)
    assert "is missing" in caught.value.message
    assert caught.value.hint == "cut the bundle again"


@pytest.mark.parametrize(
    ("name", "source"),
    [("2.root.json", "1.root.json"), ("timestamp.json", "1.root.json"), ("timestamp.json", "")],
)
def test_metadata_that_is_something_else_is_refused(publisher: Publisher, name: str, source: str) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    stick = publisher.cut("stick", ALL)
    metadata = stick / BUNDLE_DIRECTORY / "metadata"
    (metadata / name).write_bytes((metadata / source).read_bytes() if source else b"no JSON")

    with pytest.raises(InvalidInput):
        checked(publisher, stick)


@pytest.mark.parametrize("damage", [lambda _: b"[]", lambda _: b"{", lambda _: None])
def test_a_damaged_hint_is_said(publisher: Publisher, damage: Callable[[bytes], bytes | None]) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    stick = publisher.cut("stick", ALL)
    hint = stick / BUNDLE_DIRECTORY / "hint.json"
    data = damage(hint.read_bytes())
    hint.unlink()
    if data is not None:
        hint.write_bytes(data)

    with pytest.raises(InvalidInput, match=r"hint\.json is"):
        checked(publisher, stick)


def test_a_missing_policy_is_found(publisher: Publisher) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    stick = publisher.cut("stick", ALL)
    next((stick / BUNDLE_DIRECTORY / "targets" / "policy").iterdir()).unlink()

    with pytest.raises(NotFound, match=r"policy\.json is missing"):
        checked(publisher, stick)


def test_a_bundle_whose_day_has_passed_is_refused(publisher: Publisher) -> None:
    stick = publisher.cut_short(1)

    assert checked(publisher, stick).ticket.seq == 1
    with pytest.raises(InvalidInput, match="expired"):
        checked(publisher, stick, datetime.now(UTC) + timedelta(days=2))


@pytest.mark.slow
def test_one_bit_anywhere_but_in_the_hint_and_the_index_is_found(publisher: Publisher) -> None:
    with publisher.opened() as station:
        add_key(station, "root")
    publisher.add(write_model(publisher.directory / "p", 1))
    stick = publisher.cut("stick", ALL)
    bundle = stick / BUNDLE_DIRECTORY
    unsigned = {"hint.json", "oci/index.json", "oci/oci-layout", "metadata/1.root.json"}
    found = {path.relative_to(bundle).as_posix(): path for path in bundle.rglob("*") if path.is_file()}
    parts = {
        part.digest.removeprefix("sha256:")
        for item in checked(publisher, stick).items
        for part in item.parts.values()
    }
    documents = {name for name in found if name.startswith("oci/blobs/") and name.rpartition("/")[2] not in parts}
    passed = []
    for name in sorted(found.keys() - unsigned - documents):
        data = found[name].read_bytes()
        for place in {0, len(data) // 2, len(data) - 1}:
            found[name].write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            try:
                checked(publisher, stick)
            except ApplianceError:
                continue
            finally:
                found[name].write_bytes(data)
            passed.append((name, place))

    assert passed == []
