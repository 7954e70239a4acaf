"""`appliance provision`: a box is sealed once, by someone who can compare what it shows with paper."""

import hashlib
from pathlib import Path

import pytest

from appliance.state_layout import StateLayout
from appliance.updates.device_store import DeviceStore
from tests.cli.terminal import Terminal
from tests.updates.first_roots import root_file

pytestmark = pytest.mark.slow
WARD = ("--serial", "BOX-7", "--hardware", "jetson-orin", "--site", "ward-3")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root.json").write_bytes(root_file())
    return tmp_path / "root.json"


def test_a_box_is_sealed_and_says_what_to_compare(terminal: Terminal, root: Path) -> None:
    result = terminal.appliance("provision", "--root", root, *WARD, "--group", "beta", "--group", "radiology")

    words = " ".join(result.out.split())
    assert "serial BOX-7" in words
    assert "groups beta, radiology" in words
    assert hashlib.sha256(root.read_bytes()).hexdigest() in "".join(result.out.split())
    assert "compare the root's SHA-256" in result.story
    identity = DeviceStore(StateLayout(terminal.state).device).identity()
    assert identity is not None
    assert identity.memberships == {"beta", "radiology", "ward-3"}


def test_the_same_once_more_changes_nothing_and_other_values_are_refused(terminal: Terminal, root: Path) -> None:
    first = terminal.appliance("provision", "--root", root, *WARD, "--json").json
    again = terminal.appliance("provision", "--root", root, *WARD, "--json").json
    refused = terminal.appliance("provision", "--root", root, *WARD[:-1], "ward-4", code=1)

    assert (first["new"], again["new"]) == (True, False)
    assert again | {"new": True} == first
    assert len(first["root"]["keys"]) == 3
    assert "its site is 'ward-3', not 'ward-4'" in refused.story
    assert "next: a box for another owner" in refused.story


def test_a_root_that_cannot_be_read_or_is_none_leaves_nothing_behind(terminal: Terminal, root: Path) -> None:
    assert "cannot be read" in terminal.appliance("provision", "--root", root.parent / "no", *WARD, code=1).story
    root.write_text("{}")

    assert "not a root of trust" in terminal.appliance("provision", "--root", root, *WARD, code=1).story
    assert not StateLayout(terminal.state).device.exists()


def test_a_box_whose_daemon_runs_is_not_sealed_under_it(terminal: Terminal, root: Path) -> None:
    with terminal.daemon("--models", terminal.models):
        refused = terminal.appliance("provision", "--root", root, *WARD, code=1)

    assert "next: stop it, so that it starts sealed: systemctl stop appliance" in refused.story
    assert not StateLayout(terminal.state).device.exists()


def test_the_provisioning_stands_in_the_audit_log(terminal: Terminal, root: Path) -> None:
    terminal.appliance("provision", "--root", root, *WARD)

    (entry,) = terminal.appliance("audit", "show", "--json").json
    assert entry["event"] == "device_provisioned"
    assert terminal.appliance("audit", "verify", "--json").json["findings"] == []
