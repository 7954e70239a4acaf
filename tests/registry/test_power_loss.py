"""Power cuts at every file operation of the registry: old or new, never neither; what was promised is there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.durable import hash_file
from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.registry.kill_driver import perform
from tests.registry.packages import usual_files, write_package
from tests.registry.test_kill import (
    assert_done,
    assert_old_or_new,
    garbage,
    nothing,
    one_inactive_version,
    one_version,
    read_summary,
    rotten_blob,
    tampered_view,
    two_versions,
)
from tests.support.power_loss import copy_tree, lost_states, recorded


@pytest.mark.parametrize(
    ("operation", "prepare", "stride"),  # a stride of 1 looks at every state
    [
        ("activate", two_versions, 1),
        ("remove", one_inactive_version, 2),
        ("open", nothing, 2),
        pytest.param("gc", garbage, 1, marks=pytest.mark.slow),
        pytest.param("verify", tampered_view, 1, marks=pytest.mark.slow),
        pytest.param("add", nothing, 1, marks=pytest.mark.slow),
        pytest.param("add", one_version, 1, marks=pytest.mark.slow),
        pytest.param("add", rotten_blob, 1, marks=pytest.mark.slow),
    ],
)
def test_an_operation_whose_power_is_cut_anywhere_has_happened_or_has_not(
    operation: str, prepare: Callable[[StateLayout, Path], None], stride: int, digits: Path, tmp_path: Path
) -> None:
    second = write_package(tmp_path / "new" / "digits", usual_files(2))
    template, state = tmp_path / "template", tmp_path / "state"
    prepare(StateLayout(template), digits)
    package = digits if prepare is rotten_blob else second
    copy_tree(template, state)
    before = read_summary(state)
    copy_tree(template, state)
    layout = StateLayout(state)
    journal = recorded(state, lambda: lambda: perform(operation, layout, package))
    after = read_summary(state)

    for loss in lost_states(journal, state, stride):
        assert_old_or_new(layout, after if loss.is_done else before, after, loss.place, sound=False)
        if prepare not in (rotten_blob, tampered_view):
            assert_content_is_whole(layout, loss.place)
        perform(operation, layout, package)
        assert_done(layout, after, loss.place)


def assert_content_is_whole(layout: StateLayout, place: str) -> None:
    """Of what is registered, that is: a view that is garbage may be half gone."""
    for blob in (layout.blobs / "sha256").iterdir():
        assert hash_file(blob) == blob.name, place
    with ModelRegistry.open(layout) as registry:
        assert registry.verify() == [], place
