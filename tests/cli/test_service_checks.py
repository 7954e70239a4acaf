"""Every fault of an installed box, as doctor says it: found without a daemon, with the next thing to type."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.cli.check import Check, Result
from appliance.cli.listen_checks import check_listening
from appliance.cli.service_checks import checks_of_service
from appliance.slots.arming import arm, keep, refuse
from appliance.slots.filling import fill_from_directory
from appliance.slots.places import Places
from appliance.slots.record import SlotName
from appliance.slots.starting import prepare_start
from appliance.slots.store import SlotStore
from appliance.state_layout import StateLayout
from tests.slots.trees import make_tree

RUNS = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "active", "SubState": "running"}


def check(state: Path, name: str, root: Path | None = None, **unit: str) -> Check:
    found = {each.name: each for each in checks_of_service(StateLayout(state), lambda: RUNS | unit, root or state)}
    return found[name]


@pytest.mark.parametrize(
    ("unit", "result", "finding", "remedy"),
    [
        ({}, Result.OK, "active, starts with the machine", ""),
        ({"NRestarts": "3"}, Result.WARNING, "after 3 restarts", "appliance logs"),
        ({"UnitFileState": "disabled"}, Result.WARNING, "does not start with the machine", "systemctl enable"),
        ({"ActiveState": "inactive"}, Result.WARNING, "was stopped", "systemctl start"),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "signal", "ExecMainStatus": "11"},
            Result.ERROR,
            "again and again",
            "appliance logs",
        ),
        (
            {"ActiveState": "failed", "ExecMainStatus": "78"},
            Result.ERROR,
            "settings are not valid",
            "systemctl restart",
        ),
        ({"ActiveState": "failed", "ExecMainStatus": "73"}, Result.ERROR, "cannot be written", "'state' and 'owner'"),
        ({"ActiveState": "failed", "ExecMainStatus": "65"}, Result.ERROR, "cannot be understood", "'registry'"),
        ({"ActiveState": "failed", "ExecMainStatus": "9"}, Result.ERROR, "status 9", "appliance logs"),
    ],
)
def test_the_unit_is_judged_by_what_systemd_says(tmp_path, unit, result, finding, remedy):
    found = check(tmp_path, "service", **unit)

    assert found.result is result
    assert finding in found.finding
    assert remedy in found.remedy


def test_a_machine_without_the_unit_has_no_line_for_it(tmp_path):
    assert checks_of_service(StateLayout(tmp_path / "none"), lambda: None, tmp_path) == []
    assert checks_of_service(StateLayout(tmp_path / "none"), lambda: {"LoadState": "not-found"}, tmp_path) == []


@pytest.fixture
def slots(tmp_path) -> SlotStore:
    store = SlotStore(StateLayout(tmp_path).slots)
    for name, version in ((SlotName.A, "0.1.0"), (SlotName.B, "0.2.0")):
        make_tree(tmp_path / f"tree-{version}", version)
        fill_from_directory(store, name, tmp_path / f"tree-{version}")
    return store


def test_slots_that_are_whole_say_which_software_runs(tmp_path, slots):
    found = check(tmp_path, "slots")

    assert (found.result, found.finding) == (Result.OK, "software 0.1.0 in slot A, whole")


def test_a_trial_and_a_fallback_are_told_with_their_reason(tmp_path, slots):
    arm(slots, SlotName.B, "", ())
    assert "slot B is on trial, 3 starts left" in check(tmp_path, "slots").finding
    refuse(slots, "golden answers differ")
    prepare_start(Places(tmp_path, tmp_path, tmp_path, tmp_path), [], lambda _: None)
    found = check(tmp_path, "slots")

    assert found.result is Result.WARNING
    assert found.finding.endswith("0.2.0 in slot B failed: golden answers differ")
    arm(slots, SlotName.A, "", ())
    keep(slots)


def test_a_damaged_slot_two_bad_ones_and_a_damaged_record_are_errors_with_a_remedy(tmp_path, slots):
    main = slots.path(SlotName.A) / "site/appliance/cli/main.py"
    main.write_text("rotten")
    found = check(tmp_path, "slots")
    assert found.result is Result.ERROR
    assert "slot A is damaged" in found.finding
    assert "update apply" in found.remedy

    record = slots.read()
    bad = {name: replace(slot, problem="it crashed") for name, slot in record.slots.items()}
    slots.write(replace(record, slots=bad))
    assert "neither can start: A: it crashed; B: it crashed" in check(tmp_path, "slots").finding
    for copy in ("record.a", "record.b"):
        (slots.directory / copy).write_bytes(b"torn")
    found = check(tmp_path, "slots")
    assert found.result is Result.ERROR
    assert "install" in found.remedy


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of somebody else")
def test_files_of_root_in_the_services_state_are_an_error(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    assert check(tmp_path, "owner").result is Result.OK
    (tmp_path / "registry.db").write_text("")
    found = check(tmp_path, "owner")

    assert found.result is Result.ERROR
    assert "1 files belong to somebody else" in found.finding
    assert found.remedy.startswith("chown")


def test_a_driver_without_its_nodes_is_an_error(tmp_path):
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").write_text("NVRM")
    found = check(tmp_path, "gpu nodes", tmp_path)
    assert found.result is Result.ERROR
    assert "/dev/nvidiactl" in found.finding
    (tmp_path / "dev").mkdir()
    for node in ("nvidiactl", "nvidia-uvm", "nvidia0"):
        (tmp_path / "dev" / node).write_text("")

    assert check(tmp_path, "gpu nodes", tmp_path).result is Result.OK


def test_an_address_that_is_taken_is_an_error_that_names_who_has_it():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        found = check_listening([address, "unix:/x"], daemon_runs=False)

        assert found.result is Result.ERROR
        assert f"{address} is taken by" in found.finding
        assert f"process {os.getpid()}" in found.finding
        assert check_listening([address], daemon_runs=True).result is Result.OK
    assert check_listening([address], daemon_runs=False).result is Result.OK
