"""Aliases, removal, and the crash-loop guard."""

from pathlib import Path

import pytest

from appliance.errors import Busy, Failed, InvalidInput, NotFound
from appliance.registry.database import Database
from appliance.registry.migrations import MIGRATIONS
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.records import AliasChange
from appliance.state_layout import StateLayout
from tests.registry.packages import (
    DIGITS,
    ONE,
    THREE,
    TWO,
    add,
    write_package,
)


def test_activating_points_the_serving_alias_and_keeps_history(registry: ModelRegistry, digits: Path) -> None:
    write_package(digits, {"2/model.onnx": b"two"})
    add(registry, digits)
    registry.activate(DIGITS, ONE)
    registry.activate(DIGITS, TWO)
    registry.activate(DIGITS, TWO)  # changes nothing
    registry.activate(DIGITS, ONE, alias="canary")
    registry.deactivate(DIGITS, alias="serving")

    model = registry.model(DIGITS)

    assert model.aliases == {"canary": 1}
    assert [(line.alias, line.previous, line.version) for line in model.history] == [
        ("serving", None, 1),
        ("serving", 1, 2),
        ("canary", None, 1),
        ("serving", 2, None),
    ]
    assert isinstance(model.history[0], AliasChange)
    assert [line.at for line in model.history] == sorted(line.at for line in model.history)


def test_deactivating_takes_all_aliases_away(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.activate(DIGITS, ONE)
    registry.activate(DIGITS, ONE, alias="canary")
    registry.deactivate(DIGITS)
    registry.deactivate(DIGITS)

    assert registry.model(DIGITS).aliases == {}


def test_what_is_not_there_is_not_found(registry: ModelRegistry, digits: Path) -> None:
    with pytest.raises(NotFound, match="model 'digits' is not in the registry"):
        registry.model(DIGITS)
    with pytest.raises(NotFound, match="which has no version of it"):
        registry.activate(DIGITS, ONE)
    with pytest.raises(NotFound):
        registry.deactivate(DIGITS)
    with pytest.raises(NotFound):
        registry.verify(DIGITS)
    add(registry, digits)
    with pytest.raises(NotFound, match="'digits' version 3 is not in the registry, which has versions 1 of it"):
        registry.remove(DIGITS, THREE)
    with pytest.raises(NotFound, match="'digits' has no alias 'canary', it has: none"):
        registry.deactivate(DIGITS, alias="canary")


@pytest.mark.parametrize("alias", ["", "3", "../x", "a b", "x" * 65, "é"])
def test_an_impossible_alias_is_refused(registry: ModelRegistry, digits: Path, alias: str) -> None:
    add(registry, digits)

    with pytest.raises(InvalidInput, match="invalid alias"):
        registry.activate(DIGITS, ONE, alias=alias)


def test_a_version_that_an_alias_points_at_cannot_be_removed(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.activate(DIGITS, ONE)

    with pytest.raises(Busy, match=r"alias serving points at it .*appliance models deactivate digits"):
        registry.remove(DIGITS, ONE)
    registry.deactivate(DIGITS)
    registry.remove(DIGITS, ONE)

    assert registry.models() == []


def test_a_load_that_ends_the_process_is_remembered_until_it_is_activated_again(
    layout: StateLayout, digits: Path
) -> None:
    for _ in range(2):  # two lives of the process
        with ModelRegistry.open(layout) as registry:
            add(registry, digits)
            assert registry.crash_guard.refusal(DIGITS, ONE, 2) == ""
            registry.crash_guard.load_started(DIGITS, ONE)

    with ModelRegistry.open(layout) as registry:
        refusal = registry.crash_guard.refusal(DIGITS, ONE, 2)
        registry.activate(DIGITS, ONE)

        assert "loading version 1 of 'digits' ended the process 2 times" in refusal
        assert "appliance models activate digits 1" in refusal
        assert registry.crash_guard.refusal(DIGITS, ONE, 2) == ""


def test_a_load_that_fails_in_order_is_no_crash(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    for _ in range(5):
        registry.crash_guard.load_started(DIGITS, ONE)
        registry.crash_guard.load_finished(DIGITS, ONE, "no such operator")

    outcome = registry.model(DIGITS).versions[ONE].last_load

    assert registry.crash_guard.refusal(DIGITS, ONE, 1) == ""
    assert outcome is not None
    assert (outcome.problem, outcome.unfinished) == ("no such operator", 0)
    assert outcome.finished_at == outcome.started_at + 1


def test_a_load_that_is_going_on_has_no_end_yet(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.crash_guard.load_started(DIGITS, ONE)

    outcome = registry.model(DIGITS).versions[ONE].last_load

    assert outcome is not None
    assert (outcome.finished_at, outcome.unfinished) == (None, 1)
    assert "ended the process once" in registry.crash_guard.refusal(DIGITS, ONE, 1)


def test_removing_and_adding_again_forgets_the_crashes(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    registry.crash_guard.load_started(DIGITS, ONE)
    registry.remove(DIGITS, ONE)
    add(registry, digits)

    assert registry.crash_guard.refusal(DIGITS, ONE, 1) == ""


def test_two_registries_live_in_one_process(tmp_path: Path, digits: Path) -> None:
    with (
        ModelRegistry.open(StateLayout(tmp_path / "a")) as first,
        ModelRegistry.open(StateLayout(tmp_path / "b")) as second,
    ):
        add(first, digits)

        assert (len(first.models()), len(second.models())) == (1, 0)


def test_a_damaged_database_stops_the_opening_and_verify_tells(registry: ModelRegistry, digits: Path) -> None:
    add(registry, digits)
    for path in registry.layout.root.glob("registry.db*"):
        path.write_bytes(b"garbage" * 5000)

    assert [problem.subject for problem in registry.verify()] == ["database"]
    with pytest.raises(Failed, match="is damaged"), ModelRegistry.open(registry.layout):
        pass


def test_what_a_database_of_an_older_form_lacks_is_told_with_the_next_command(layout: StateLayout) -> None:
    Database(layout.database).prepare(MIGRATIONS[:1])  # neither tickets nor crashes
    reader = ModelRegistry.to_read(layout)

    for read in (reader.crash_guard.crashed, reader.tickets):
        with pytest.raises(
            Failed, match=f"has schema 1, .* reads schema {len(MIGRATIONS)}: no such table"
        ) as refused:
            read()
        assert "systemctl restart appliance" in refused.value.hint
    assert reader.models() == []
    with ModelRegistry.open(layout):  # as the service does when it starts
        pass
    assert list(reader.crash_guard.crashed()) == []
