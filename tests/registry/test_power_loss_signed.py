"""Power cuts at every file operation of what a signed bundle does, and of the upkeep."""

from pathlib import Path

import pytest

from appliance.errors import Failed
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.registry_source import RegistrySource
from appliance.state_layout import StateLayout
from tests.registry.kill_driver import perform_signed
from tests.registry.packages import DIGITS, usual_files, write_package
from tests.registry.test_kill_signed import (
    Prepare,
    assert_what_is_desired_can_be_served,
    in_quarantine,
    on_trial,
    one_installed,
    read_state,
    rotten,
    state_of,
    without_database,
)
from tests.support.power_loss import copy_tree, lost_states, recorded


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """Version 2, which shares files with version 1."""
    return write_package(tmp_path / "new" / "digits", usual_files(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "prepare"),
    [
        ("confirm", on_trial),
        ("restore", on_trial),
        ("install", one_installed),
        ("rebuild", without_database),
    ],
)
def test_what_a_ticket_does_has_happened_or_has_not(
    operation: str, prepare: Prepare, digits: Path, second: Path, tmp_path: Path
) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    prepare(StateLayout(template), digits, second)
    copy_tree(template, state)
    before = read_state(state)
    copy_tree(template, state)
    layout = StateLayout(state)
    journal = recorded(state, lambda: lambda: perform_signed(operation, layout, second))
    after = read_state(state)

    for loss in lost_states(journal, state):
        with ModelRegistry.open(layout) as registry:
            assert state_of(registry) in ((after,) if loss.is_done else (before, after)), loss.place
            assert_what_is_desired_can_be_served(registry, loss.place)
        perform_signed(operation, layout, second)
        assert read_state(state) | {"history": after["history"]} == after, loss.place
        with ModelRegistry.open(layout) as registry:
            assert registry.verify() == [], loss.place
            assert_what_is_desired_can_be_served(registry, loss.place)


@pytest.mark.slow
def test_a_scrub_never_lets_damaged_content_pass_for_whole(digits: Path, second: Path, tmp_path: Path) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    rotten(StateLayout(template), digits, second)
    copy_tree(template, state)
    layout = StateLayout(state)
    journal = recorded(state, lambda: lambda: perform_signed("scrub", layout, second))
    after = read_state(state)
    assert len(after["damaged"]) == 2

    for loss in lost_states(journal, state):
        with ModelRegistry.open(layout) as registry:
            if loss.is_done:  # an update brings what is not among the blobs
                assert state_of(registry) == after, loss.place
                assert not any(registry.blobs.path(digest).exists() for digest in after["damaged"]), loss.place
            source = RegistrySource(registry)
            for version in source.scan()[DIGITS].versions.values():
                with pytest.raises(Failed):
                    source.verify(version)
        perform_signed("scrub", layout, second)
        assert read_state(state) == after, loss.place


@pytest.mark.slow
def test_healing_goes_on_where_it_stopped(digits: Path, second: Path, tmp_path: Path) -> None:
    template, state = tmp_path / "template", tmp_path / "state"
    in_quarantine(StateLayout(template), digits, second)
    copy_tree(template, state)
    layout = StateLayout(state)
    journal = recorded(state, lambda: lambda: perform_signed("heal", layout, second))
    after = read_state(state)

    for loss in lost_states(journal, state):
        if loss.is_done:
            with ModelRegistry.open(layout) as registry:
                assert (registry.quarantined(), registry.verify()) == ([], []), loss.place
        perform_signed("heal", layout, second)
        assert read_state(state) == after, loss.place
        with ModelRegistry.open(layout) as registry:
            assert registry.verify() == [], loss.place
            assert_what_is_desired_can_be_served(registry, loss.place)
