import hashlib
import json
import os
from pathlib import Path

import pytest

from appliance.errors import Failed, InvalidInput
from appliance.slots.places import Places
from appliance.slots.record import Fallback, Run, Slot, SlotName, SlotRecord, Trial
from appliance.slots.store import SlotStore
from appliance.state_layout import SYSTEM_STATE_DIRECTORY, StateLayout

FULL = SlotRecord(
    SlotName.B,
    {SlotName.A: Slot("a" * 64, "0.1.0", 1, "it crashed"), SlotName.B: Slot("b" * 64, "0.2.0", 2)},
    Trial(SlotName.A, 2, "sha256:1", ("digits",), "registry-before-A.db", ("it ended",), "no"),
    Fallback(SlotName.A, "0.1.0", "sha256:0", "it crashed"),
    Run(SlotName.B, "boot", ready=True, unready_before=3),
    "sha256:2",
    "undo.db",
    "restoring.db",
)


def signed(document: object) -> bytes:
    line = json.dumps(document).encode()
    return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"


def test_a_record_comes_back_as_it_was_written(tmp_path):
    store = SlotStore(tmp_path / "slots")
    written = store.write(FULL)

    assert store.read() == written
    assert SlotRecord.parse(FULL.to_bytes()) == FULL


@pytest.mark.parametrize("state", [SYSTEM_STATE_DIRECTORY, Path("/somewhere/else")])
def test_the_selector_looks_where_the_software_itself_does(state):
    places, layout = Places(state), StateLayout(state)

    assert (places.slots.directory, places.slots.trees) == (layout.slots, layout.software)
    assert places.database == layout.database
    assert Places().runtime == StateLayout(SYSTEM_STATE_DIRECTORY).runtime


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"\0" * 400, FULL.to_bytes()[:-9], FULL.to_bytes().replace(b"B", b"A")]
)
def test_a_damaged_copy_leaves_the_one_before(tmp_path, damage):
    store = SlotStore(tmp_path / "slots")
    before = store.write(FULL)
    newest = store.write(FULL)
    (path,) = [path for path in store.directory.iterdir() if path.read_bytes() == newest.to_bytes()]
    path.write_bytes(damage)

    assert store.read() == before


@pytest.mark.parametrize(
    "said",
    [
        {"slots": {}},
        {"slots": []},
        {"slots": {"A": {"tree": 5}, "B": {}}},
        {"number": "9"},
        {"number": float("inf")},
        {"trial": 5},
        {"confirmed": ["x"]},
        {"undo": "/etc/passwd"},
        {"undo": "../registry.db"},
        {"restoring": "a/b"},
    ],
)
def test_a_record_that_is_none_is_damaged_whatever_its_digest_says(tmp_path, said):
    store = SlotStore(tmp_path / "slots")
    store.write(SlotRecord())
    for path in store.directory.iterdir():
        path.write_bytes(signed(json.loads(path.read_bytes().partition(b"\n")[0]) | said))

    with pytest.raises(Failed, match="damaged"):
        store.read()
    assert store.read_or_begin().number == 1
    assert store.read() == SlotRecord(number=1)


@pytest.mark.parametrize("document", ["text", 5, ["schema"], None])
def test_any_json_is_refused_that_is_no_record(document):
    with pytest.raises(InvalidInput):
        SlotRecord.parse(signed(document))


def test_lists_in_lists_are_no_record():
    data = b"[" * 100_000
    with pytest.raises(InvalidInput):
        SlotRecord.parse(data + b"\n" + hashlib.sha256(data).hexdigest().encode())


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir])
def test_what_is_no_file_makes_nobody_wait(tmp_path, put):
    store = SlotStore(tmp_path / "slots")
    store.directory.mkdir()
    put(store.directory / "record.a")

    with pytest.raises(Failed, match="damaged"):
        store.read()


def test_two_damaged_copies_are_an_error_with_its_remedy_and_never_an_empty_record(tmp_path):
    store = SlotStore(tmp_path / "slots")
    store.write(FULL)
    store.write(FULL)
    for path in store.directory.iterdir():
        path.write_bytes(b"torn")

    with pytest.raises(Failed, match="damaged") as raised:
        store.read()
    assert "install" in raised.value.hint
    store.write(FULL)
    assert store.read().current is SlotName.B


def test_a_box_without_slots_has_an_empty_record(tmp_path):
    store = SlotStore(tmp_path / "slots")

    assert not store.exists
    assert store.read() == SlotRecord()


def test_a_record_of_another_form_is_refused():
    other = FULL.to_bytes().replace(b'"schema":1', b'"schema":9')

    with pytest.raises(InvalidInput, match="digest"):
        SlotRecord.parse(other)
