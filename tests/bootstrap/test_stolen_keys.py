"""What somebody does with some of the owner's keys, or a station that puts things together wrongly: refused."""

import hashlib
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tuf.api.metadata import TargetFile

from appliance.bundle.layout import BUNDLE_DIRECTORY, SOFTWARE_ROLE, hashed_target
from appliance.bundle.software_item import SoftwareItem
from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from appliance.publish.key_changes import role_keys, rotate_key
from appliance.publish.signed_targets import add_target, read_target
from tests.bootstrap.taken import assert_refused
from tests.updates.boxes import Publisher
from tests.updates.forging import change, metadata_of, newest, signers_of, vouch_again


def rotate_root(publisher: Publisher) -> None:
    with publisher.opened() as station:
        rotate_key(station, "root", role_keys(station)["root"][0][0][:16])


def signed_item(publisher: Publisher, path: str) -> SoftwareItem:
    with publisher.opened() as station:
        return SoftwareItem.parse(read_target(station, path, station.store.latest(SOFTWARE_ROLE).signed))


def sign_as(publisher: Publisher, path: str, item: SoftwareItem) -> None:
    """Let the release team sign a manifest under this path."""
    with publisher.opened() as station:
        targets = station.store.latest(SOFTWARE_ROLE).signed
        add_target(station, targets, path, item.to_bytes())
        for data in (item.to_bytes(), item.config_bytes()):
            station.blobs.put(data)
        station.signing.sign(SOFTWARE_ROLE, targets)


def test_a_stranger_who_calls_himself_the_owners_successor_is_refused(releases, publisher, take, tmp_path):
    """All of his stick is well signed, by himself; it begins with the owner's root."""
    stranger = Publisher(tmp_path / "stranger")
    stranger.hold_ceremony()
    rotate_root(stranger)
    stick = type(releases)(stranger).stick("evil")
    (metadata_of(stick) / "1.root.json").write_bytes(publisher.root)

    assert_refused(take(stick), 20, "'root' version 2 of the bundle is signed by 0 of the 2 keys")


def test_a_new_root_is_signed_by_its_own_keys_as_well(releases, publisher, take):
    before = signers_of(publisher, "root")
    rotate_root(publisher)
    stick = releases.stick("good")
    change(stick, "root", lambda _: None, before)

    assert_refused(take(stick), 21, "'root' version 2 of the bundle is signed by 1 of the 2 keys")


def test_documents_of_two_bundles_are_not_mixed(releases, publisher, take):
    """Both are properly signed, under the same number; the snapshot names one of them."""
    stick = releases.stick("good")

    def hold_longer(targets: Any) -> None:
        targets.expires += timedelta(days=1)

    change(stick, "software", hold_longer, signers_of(publisher, "software"))

    assert_refused(take(stick), 29, "software.json")


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets", "tickets", "software"])
def test_every_document_counts_until_its_own_last_day(releases, publisher, take, role):
    stick = releases.stick("good")
    trusted = ()

    def end(signed: Any) -> None:
        signed.expires = datetime(2020, 1, 1, tzinfo=UTC)

    change(stick, role, end, signers_of(publisher, role))
    if role == "root":
        trusted = ("--root", shutil.copy(newest(stick, "root"), publisher.directory))
    elif role == "snapshot":
        data = newest(stick, "snapshot").read_bytes()

        def name_snapshot(timestamp: Any) -> None:
            timestamp.snapshot_meta.length = len(data)
            timestamp.snapshot_meta.hashes = {"sha256": hashlib.sha256(data).hexdigest()}

        change(stick, "timestamp", name_snapshot, signers_of(publisher, "timestamp"))
    elif role != "timestamp":
        vouch_again(publisher, stick, role)

    assert_refused(take(stick, *trusted), 25, f"'{role}' of the bundle held until 2020-01-01 00:00 UTC")


def test_a_target_that_was_exchanged_is_refused(releases, take):
    stick = releases.stick("good")
    (ticket,) = (stick / BUNDLE_DIRECTORY / "targets/tickets").iterdir()
    ticket.write_bytes(ticket.read_bytes().replace(b'"all":true', b'"all":false'))

    assert_refused(take(stick), 29, ticket.name)


def test_a_manifest_that_the_ticket_does_not_mean_is_refused(releases, publisher, take):
    """With the keys of the release team, of snapshot and timestamp, and not those of tickets."""
    stick = releases.stick("good")
    (place,) = (stick / BUNDLE_DIRECTORY / "targets/software/appliance").iterdir()
    item = SoftwareItem.parse(place.read_bytes())
    other = replace(item, file_count=item.file_count + 1).to_bytes()
    digest = hashlib.sha256(other).hexdigest()
    (stick / BUNDLE_DIRECTORY / "targets" / hashed_target(item.target, digest)).write_bytes(other)

    def name_other(targets: Any) -> None:
        targets.targets[item.target] = TargetFile(len(other), {"sha256": digest}, item.target)

    change(stick, "software", name_other, signers_of(publisher, "software"))
    vouch_again(publisher, stick, "software")

    assert_refused(take(stick), 29, "is signed with other content than the ticket names")


def test_a_manifest_under_another_name_is_refused(releases, publisher, take):
    releases.stick("good")
    with publisher.opened() as station:
        (path,) = station.store.latest(SOFTWARE_ROLE).signed.targets
    other = path.replace("0.2.0", "0.3.0")
    sign_as(publisher, other, signed_item(publisher, path))
    stick = publisher.cut("other", CutRequest(Devices(all=True), items=(other,)))

    assert_refused(take(stick), 32, f"{other} holds the manifest of {path}")


def test_an_archive_that_does_not_hold_the_tree_that_was_signed_is_refused(releases, publisher, take):
    releases.stick("good")
    with publisher.opened() as station:
        (path,) = station.store.latest(SOFTWARE_ROLE).signed.targets
    sign_as(publisher, path, replace(signed_item(publisher, path), tree="0" * 64))
    stick = publisher.cut("other", CutRequest(Devices(all=True), items=(path,)))

    assert_refused(take(stick), 29, "FILES.sha256 has digest")
