"""Another state in place of the one that is there: wholly or not at all, also where going on is cut off again."""

import shutil
from pathlib import Path

import pytest

from appliance.daemon.state_exchange import StateExchange
from appliance.durable import copy_hashed, make_directory
from appliance.errors import StateUnusable
from tests.support.kill_points import killed_before
from tests.support.power_loss import copy_tree, lost_states, recorded

OLD = {"audit/head": "old", "blobs/one": "old", "registry": "old", "slots/A": "kept"}
NEW = {"audit/head": "new", "registry": "new", "trust/floor": "new", "slots/A": "kept"}
# Not named .db: the model of power cuts knows databases by what SQLite opens.
REPLACED = ("audit", "blobs", "registry", "registry-wal", "trust")


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def old_state(root: Path) -> Path:
    for name, text in OLD.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def exchanged(root: Path, source: Path) -> None:
    exchange = StateExchange(root)
    exchange.begin()
    for name, text in NEW.items():
        if text == "new":
            make_directory((exchange.new / name).parent)
            with source.open("rb") as stream:
                copy_hashed(stream, exchange.new / name, mode=None)
    exchange.commit("restore", REPLACED)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_text("new")
    return tmp_path / "source"


def test_what_comes_replaces_what_goes_and_the_rest_stays(tmp_path: Path, source: Path) -> None:
    root = old_state(tmp_path / "state")
    exchanged(root, source)

    assert contents(root) == NEW
    assert not (root / "exchange").exists()


def test_what_was_not_decided_never_happened(tmp_path: Path) -> None:
    root = old_state(tmp_path / "state")
    exchange = StateExchange(root)
    exchange.begin()
    (exchange.new / "registry").write_text("half")

    assert StateExchange(root).finish() == ""
    assert contents(root) == OLD
    assert not (root / "exchange").exists()


def test_a_record_that_cannot_be_read_is_left_for_a_person(tmp_path: Path) -> None:
    root = old_state(tmp_path / "state")
    exchange = StateExchange(root)
    exchange.begin()
    (root / "exchange" / "record.json").write_text("{}")

    with pytest.raises(StateUnusable, match=r"record\.json is damaged"):
        exchange.finish()
    exchange.abandon()
    assert (root / "exchange" / "record.json").exists()


@pytest.mark.slow
def test_an_exchange_that_is_killed_and_whose_finishing_is_killed_too_is_old_or_new(
    tmp_path: Path, source: Path
) -> None:
    template, killed, state = old_state(tmp_path / "template"), tmp_path / "killed", tmp_path / "state"
    seen, first, answer = set(), 0, '"killed"'
    while answer == '"killed"':
        first += 1
        copy_tree(template, killed)
        answer = killed_before(first, lambda: lambda: exchanged(killed, source))
        second, again = 0, '"killed"'
        while again == '"killed"':
            second += 3
            copy_tree(killed, state)
            again = killed_before(second, lambda: StateExchange(state).finish)
            StateExchange(state).finish()
            left = contents(state)
            assert left in (OLD, NEW), f"killed before operations {first} and {second}"
            assert not (state / "exchange").exists()
            seen.add(left == NEW)

    assert seen == {False, True}
    assert first > 30


@pytest.mark.slow
def test_an_exchange_whose_power_is_cut_anywhere_is_old_or_new(tmp_path: Path, source: Path) -> None:
    template, state = old_state(tmp_path / "template"), tmp_path / "state"
    copy_tree(template, state)
    seen = set()
    for loss in lost_states(recorded(state, lambda: lambda: exchanged(state, source)), state):
        StateExchange(state).finish()
        left = contents(state)
        assert left == NEW or (left == OLD and not loss.is_done), loss.place
        seen.add(left == NEW)
    shutil.rmtree(state)

    assert seen == {False, True}
