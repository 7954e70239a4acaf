"""Power cuts at every file operation of the station: no version is ever two things, and no bundle is half there."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.bundle.layout import BUNDLE_DIRECTORY
from appliance.bundle.ticket import Devices
from appliance.publish.bundle_check import check_bundle
from appliance.publish.bundle_writer import require_place
from appliance.publish.cutting import CutRequest, cut
from appliance.publish.key_changes import role_keys, rotate_key
from tests.publish.test_kill import again, assert_one_meaning
from tests.support.disk_journal import DiskJournal
from tests.support.power_loss import copy_tree, lost_states, recorded
from tests.updates.boxes import Publisher, silent, write_model

ALL = CutRequest(Devices(all=True))
EVERY = pytest.param(1, marks=pytest.mark.exhaustive)  # every state: minutes


def stick_of(owner: Publisher) -> Path:
    return owner.directory / "sticks" / "one"


def perform_cut(owner: Publisher) -> None:
    with owner.opened() as station:
        cut(station, ALL, stick_of(owner), silent, replace=True)


def perform_rotation(owner: Publisher) -> None:
    with owner.opened() as station:
        rotate_key(station, "targets", role_keys(station)["targets"][0][0])


def journal_of(template: Path, state: Path, operation: Callable[[Publisher], object]) -> DiskJournal:
    copy_tree(template, state)
    return recorded(state, lambda: lambda: operation(Publisher(state)))


@pytest.mark.slow
@pytest.mark.parametrize("stride", [EVERY, 11])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_cut_without_power_leaves_a_whole_bundle_or_none(
    publisher: Publisher, tmp_path: Path, stride: int, replaced: bool
) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    stick_of(publisher).mkdir(parents=True)
    if replaced:
        perform_cut(publisher)
    state = tmp_path / "cut" / "state"
    journal = journal_of(publisher.directory, state, perform_cut)

    seen = set()
    for loss in lost_states(journal, state, stride):
        owner = Publisher(state)
        stick = stick_of(owner)
        there = require_place(stick, replace=True).exists()
        seq = check_bundle(stick, owner.root, datetime.now(UTC), silent).ticket.seq if there else 0
        assert there or not (replaced or loss.is_done), loss.place
        seen.add(seq)
        next_one = owner.cut("next", ALL)
        assert check_bundle(next_one, owner.root, datetime.now(UTC), silent).ticket.seq > seq, loss.place
        assert_one_meaning([owner.directory / "station" / "metadata", stick, next_one], loss.place)
        perform_cut(owner)
        assert [path.name for path in stick.iterdir()] == [BUNDLE_DIRECTORY], loss.place
    assert seen == ({1, 2} if replaced else {0, 1})


@pytest.mark.slow
@pytest.mark.parametrize("stride", [EVERY, 7])
def test_a_rotation_without_power_happened_or_not(publisher: Publisher, tmp_path: Path, stride: int) -> None:
    publisher.add(write_model(publisher.directory / "p", 1))
    before = publisher.cut("before", ALL)
    state = tmp_path / "cut" / "state"
    journal = journal_of(publisher.directory, state, perform_rotation)

    seen = set()
    for loss in lost_states(journal, state, stride):
        owner = Publisher(state)
        next_one = owner.cut("next", ALL)
        checked = check_bundle(next_one, owner.root, datetime.now(UTC), silent)
        seen.add(checked.root_version)
        assert checked.root_version == 2 or not loss.is_done, loss.place
        assert_one_meaning([owner.directory / "station" / "metadata", before, next_one], loss.place)
        assert_root_file_is_newest(owner, loss.place)
    assert seen == {1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("stride", [EVERY, 29])
def test_a_ceremony_without_power_goes_on(tmp_path: Path, stride: int) -> None:
    template, state = tmp_path / "template", tmp_path / "cut" / "state"
    template.mkdir()
    journal = journal_of(template, state, Publisher.hold_ceremony)

    for loss in lost_states(journal, state, stride):
        owner = Publisher(state)
        given = root_that_boxes_got(owner)
        again(owner, "ceremony")
        assert given in (b"", owner.root), loss.place
        next_one = owner.cut("next", ALL)
        assert check_bundle(next_one, owner.root, datetime.now(UTC), silent).ticket.seq == 1, loss.place
        assert_root_file_is_newest(owner, loss.place)
        shutil.rmtree(next_one)


def root_that_boxes_got(owner: Publisher) -> bytes:
    path = owner.directory / "station" / "root.json"
    return path.read_bytes() if path.exists() else b""


def assert_root_file_is_newest(owner: Publisher, what: str) -> None:
    with owner.opened() as station:
        newest = station.store.path("root", station.store.versions("root")[-1])
        assert station.root_file.read_bytes() == newest.read_bytes(), what
