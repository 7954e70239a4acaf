"""kill -9 before every file operation of what a signed bundle does, and of the upkeep: old or new, never neither."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import Failed
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.state_layout import StateLayout
from tests.registry.bundles import Parts, install, item_of
from tests.registry.kill_driver import at_fifty
from tests.registry.kill_session import Driver, copy_state
from tests.registry.packages import DIGITS, ONE, assert_whole, usual_files, write_package

State = dict[str, Any]
Prepare = Callable[[StateLayout, Path, Path], None]


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Version 2, which shares files with version 1."""
    return write_package(tmp_path / "new" / "digits", usual_files(2))


def one_installed(layout: StateLayout, first: Path, _: Path) -> None:
    parts = Parts()
    with ModelRegistry.open(layout, clock=at_fifty) as registry:
        install(registry, item_of(first, parts), parts, 1)


def on_trial(layout: StateLayout, first: Path, second: Path) -> None:
    one_installed(layout, first, second)
    parts = Parts()
    with ModelRegistry.open(layout, clock=at_fifty) as registry:
        install(registry, item_of(second, parts), parts, 2)


def rotten(layout: StateLayout, first: Path, second: Path) -> None:
    on_trial(layout, first, second)
    item = item_of(second, Parts())
    with ModelRegistry.open(layout) as registry:
        for relative in ("labels.txt", "2/model.onnx"):
            path = registry.blobs.path(item.files[relative].digest)
            path.chmod(0o644)
            path.write_bytes(b"rotten")


def in_quarantine(layout: StateLayout, first: Path, second: Path) -> None:
    rotten(layout, first, second)
    with ModelRegistry.open(layout, clock=at_fifty) as registry:
        registry.scrub()


def without_database(layout: StateLayout, first: Path, second: Path) -> None:
    on_trial(layout, first, second)
    for file in layout.root.glob("registry.db*"):
        file.unlink()


def with_a_damaged_database(layout: StateLayout, first: Path, second: Path) -> None:
    on_trial(layout, first, second)
    layout.database.write_bytes(b"no database " * 1000)
    (layout.root / "registry.db-wal").write_bytes(b"no log")


def state_of(registry: ModelRegistry) -> State:
    models = registry.models()
    return {
        "versions": {(model.name, number): row.digest for model in models for number, row in model.versions.items()},
        "serving": {model.name: model.aliases.get("serving") for model in models},
        "history": {model.name: len(model.history) for model in models},
        "tickets": [(ticket.seq, ticket.state, ticket.reason) for ticket in registry.tickets()],
        "signed": {
            (model.name, number)
            for model in models
            for number in model.versions
            if registry.is_signed(model.name, number)
        },
        "damaged": registry.quarantined(),
    }


def read_state(state: Path) -> State:
    with ModelRegistry.open(StateLayout(state)) as registry:
        return state_of(registry)


def assert_what_is_desired_can_be_served(registry: ModelRegistry, place: str) -> None:
    source = RegistrySource(registry)
    for model in source.scan().values():
        for number in model.desired:
            assert source.refusal(model.versions[number], 1) == "", place
            source.verify(model.versions[number])


@pytest.mark.parametrize(
    ("operation", "prepare", "stride"),  # a stride of 1 kills before every operation
    [
        ("restore", on_trial, 5),
        ("install", one_installed, 29),
        pytest.param("confirm", on_trial, 1, marks=pytest.mark.slow),
        pytest.param("restore", on_trial, 1, marks=pytest.mark.slow),
        pytest.param("install", one_installed, 1, marks=pytest.mark.slow),
        pytest.param("rebuild", without_database, 1, marks=pytest.mark.slow),
    ],
)
def test_what_a_ticket_does_has_happened_or_has_not(
    driver: Driver, operation: str, prepare: Prepare, stride: int, digits: Path, second: Path, tmp_path: Path
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    prepare(StateLayout(template), digits, second)
    before = read_state(copy_state(template, state))
    operations = driver.perform(operation, copy_state(template, state), second)
    after = read_state(state)
    assert before != after

    for at in range(1, len(operations) + 1, stride):
        place = f"killed before operation {at}: {operations[at - 1]}"
        assert driver.perform(operation, copy_state(template, state), second, at) == "killed", place
        with ModelRegistry.open(StateLayout(state)) as registry:
            assert state_of(registry) in (before, after), place
            assert registry.verify() == [], place
            assert_what_is_desired_can_be_served(registry, place)
            assert list(registry.layout.staging.iterdir()) == [], place
            assert_whole(registry.layout)
        assert driver.perform(operation, state, second) != "killed", place
        repeated = read_state(state)
        assert repeated | {"history": after["history"]} == after, place
        if StateLayout(state).partial_blobs.exists():
            assert list(StateLayout(state).partial_blobs.iterdir()) == [], place


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [rotten, in_quarantine])
def test_a_scrub_that_is_killed_never_lets_damaged_content_pass_for_whole(
    driver: Driver, prepare: Prepare, digits: Path, second: Path, tmp_path: Path
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    prepare(StateLayout(template), digits, second)
    operations = driver.perform("scrub", copy_state(template, state), second)
    after = read_state(state)
    assert len(after["damaged"]) == 2

    for at in range(1, len(operations) + 1):
        place = f"killed before operation {at}: {operations[at - 1]}"
        assert driver.perform("scrub", copy_state(template, state), second, at) == "killed", place
        with ModelRegistry.open(StateLayout(state)) as registry:
            source = RegistrySource(registry)
            for version in source.scan()[DIGITS].versions.values():
                with pytest.raises(Failed):
                    source.verify(version)
            gone = [digest for digest in after["damaged"] if not registry.blobs.path(digest).exists()]
            assert all(registry.quarantine.path(digest).read_bytes() == b"rotten" for digest in gone), place
            assert set(registry.quarantined()) <= set(gone), place
        assert driver.perform("scrub", state, second) != "killed", place
        assert read_state(state) == after, place
        assert_whole(StateLayout(state))


@pytest.mark.slow
def test_healing_that_is_killed_goes_on_where_it_stopped(
    driver: Driver, digits: Path, second: Path, tmp_path: Path
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    in_quarantine(StateLayout(template), digits, second)
    operations = driver.perform("heal", copy_state(template, state), second)
    after = read_state(state)
    assert after["damaged"] == []

    for at in range(1, len(operations) + 1):
        place = f"killed before operation {at}: {operations[at - 1]}"
        assert driver.perform("heal", copy_state(template, state), second, at) == "killed", place
        with ModelRegistry.open(StateLayout(state)) as registry:
            for digest in registry.quarantined():
                if registry.blobs.path(digest).exists():
                    registry.blobs.verify(digest)
            assert_whole(registry.layout)
        assert driver.perform("heal", state, second) != "killed", place
        assert read_state(state) == after, place
        with ModelRegistry.open(StateLayout(state)) as registry:
            assert registry.verify() == [], place
            assert_what_is_desired_can_be_served(registry, place)


@pytest.mark.slow
def test_a_damaged_database_is_never_mixed_with_a_new_one(
    driver: Driver, digits: Path, second: Path, tmp_path: Path
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    with_a_damaged_database(StateLayout(template), digits, second)
    operations = driver.perform("rebuild", copy_state(template, state), second)
    after = read_state(state)
    assert (len(after["versions"]), after["tickets"], after["serving"]) == (2, [], {DIGITS: None})
    assert (DIGITS, ONE) not in after["signed"]

    for at in range(1, len(operations) + 1):
        place = f"killed before operation {at}: {operations[at - 1]}"
        assert driver.perform("rebuild", copy_state(template, state), second, at) == "killed", place
        assert driver.perform("rebuild", state, second) != "killed", place
        assert read_state(state) == after, place
        aside = [file.read_bytes() for file in state.glob("registry.db.damaged-?")]
        assert aside == [b"no database " * 1000], place
