"""Root installs while the service, which owns the record, may be somebody else's."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import Failed
from appliance.slots.arming import back, keep
from appliance.slots.installing import install_tree
from appliance.slots.places import Places
from appliance.slots.record import Slot, SlotName, SlotRecord
from appliance.slots.tree import tree_digest
from tests.slots.trees import make_tree

SERVICE = 65534
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root installs for another user")


class RootsTrees(Places):
    """Trees apart from the record, as on an installed box."""

    @property
    def slots(self):
        found = super().slots
        found.trees = self.rescue.parent / "software"
        return found


@pytest.fixture
def places() -> Iterator[Places]:
    """Of a box whose state belongs to the service; not below tmp_path, which is for root alone."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "state" / "slots").mkdir(parents=True)
        for path in (root / "state", root / "state" / "slots"):
            os.chown(path, SERVICE, SERVICE)
        make_tree(root / "rescue")
        yield RootsTrees(root / "state", root / "rescue", root / "run")


def install(places: Places) -> str:
    return install_tree(places, places.rescue, lambda _: None)


@root_only
def test_trees_are_roots_and_the_record_is_the_services(places):
    places.slots.directory.rmdir()
    assert install(places) == "software 0.1.0 is in slot A"

    directory = places.slots.directory
    assert {path.stat().st_uid for path in (directory, *directory.iterdir())} == {SERVICE}
    assert places.slots.path(SlotName.A).stat().st_uid == 0
    assert os.geteuid() == 0
    assert "already" in install(places)


@root_only
def test_what_was_purged_is_forgotten_so_that_nobody_goes_back_to_it(places):
    install(places)
    make_tree(places.rescue.with_name("newer"), "0.2.0")
    install_tree(places, places.rescue.with_name("newer"), lambda _: None)
    keep(places.slots)  # 0.2.0 in slot B runs, 0.1.0 in slot A is the way back
    shutil.rmtree(places.slots.trees)

    assert install(places) == "software 0.1.0 is in slot B"
    assert places.slots.read().slots == {SlotName.A: Slot(), SlotName.B: Slot(tree_digest(places.rescue), "0.1.0", 1)}
    with pytest.raises(Failed, match="slot A is empty"):
        back(places.slots, "the operator wants it")


@root_only
def test_a_way_back_that_is_gone_is_forgotten_while_what_runs_stays(places):
    install(places)
    make_tree(places.rescue.with_name("newer"), "0.2.0")
    install_tree(places, places.rescue.with_name("newer"), lambda _: None)
    shutil.rmtree(places.slots.path(SlotName.B))

    again = install_tree(places, places.rescue.with_name("newer"), lambda _: None)

    assert again == "software 0.2.0 is in slot B: the next start of the service tries it"
    assert places.slots.path(SlotName.B).is_dir()
    assert places.slots.read().slots[SlotName.A].usable


@root_only
def test_what_the_record_names_is_removed_with_the_rights_of_the_service_only(places):
    with tempfile.TemporaryDirectory() as name:
        roots = Path(name, "roots")
        roots.write_text("precious")
        places.slots.write(replace(SlotRecord(), undo=str(roots)))
        with contextlib.suppress(Failed):
            install(places)
        assert roots.read_text() == "precious"


@root_only
def test_a_link_in_place_of_the_record_leads_root_nowhere(places):
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        places.slots.directory.rmdir()
        places.slots.directory.symlink_to(name)

        with pytest.raises(Failed, match="Permission denied"):
            install(places)
        assert list(Path(name).iterdir()) == []
