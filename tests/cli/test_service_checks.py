"""Every fault of an installed box, as doctor says it: found without a daemon, with the next thing to type."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.cli.check import Check, Result
from appliance.cli.service_checks import checks_of_service
from appliance.cli.settings_check import check_settings, may_read
from appliance.cli.state_checks import check_registry, check_state_directory
from appliance.cli.update_checks import checks_of_updates
from appliance.registry.model_registry import ModelRegistry
from appliance.settings import Settings
from appliance.slots.arming import arm, keep, refuse
from appliance.slots.filling import fill_from_directory
from appliance.slots.places import Places
from appliance.slots.record import SlotName
from appliance.slots.starting import prepare_start
from appliance.slots.store import SlotStore
from appliance.state_layout import StateLayout
from tests.cli.conftest import ordinary_user
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
            {"ActiveState": "deactivating", "SubState": "stop-post", "Result": "exit-code", "ExecMainStatus": "75"},
            Result.ERROR,
            "status 75) and is started again and again",
            "appliance logs",
        ),
        (
            {"ActiveState": "activating", "SubState": "start", "Result": "success", "NRestarts": "4"},
            Result.ERROR,
            "4 restarts so far) and is started again and again",
            "appliance logs",
        ),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "0"},
            Result.ERROR,
            "what its unit runs before it failed",
            "appliance logs",
        ),
        ({"ActiveState": "deactivating", "Result": "success"}, Result.OK, "deactivating", ""),
        (
            {"ActiveState": "failed", "ExecMainStatus": "78"},
            Result.ERROR,
            "settings are not valid",
            "systemctl restart",
        ),
        ({"ActiveState": "failed", "ExecMainStatus": "73"}, Result.ERROR, "cannot be written", "'state' and 'owner'"),
        ({"ActiveState": "failed", "ExecMainStatus": "65"}, Result.ERROR, "cannot be understood", "'registry'"),
        ({"ActiveState": "failed", "ExecMainStatus": "243"}, Result.ERROR, "its credentials", "'credentials'"),
        ({"ActiveState": "failed", "ExecMainStatus": "2"}, Result.ERROR, "command line", "systemctl cat"),
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


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of somebody else")
def test_a_state_directory_of_root_is_compared_with_the_units_user(tmp_path):
    found = check(tmp_path, "owner", User="nobody")

    assert found.result is Result.ERROR
    assert f"{tmp_path} belongs to root, but the service runs as nobody" in found.finding
    assert found.remedy.startswith(f"chown -R nobody:nobody {tmp_path}")
    os.chown(tmp_path, 65534, 65534)
    assert check(tmp_path, "owner", User="nobody").result is Result.OK
    os.chown(tmp_path, 0, 0)
    without_unit = checks_of_service(StateLayout(tmp_path), lambda: None, tmp_path)
    assert [each.name for each in without_unit] == []


@pytest.fixture
def unit(tmp_path) -> Path:
    """A unit, and the drop-in of an operator who wants a key for TLS."""
    drop_in = tmp_path / "unit" / "tls.conf"
    drop_in.parent.mkdir()
    (drop_in.parent / "appliance.service").write_text("[Unit]\nLoadCredential=not:/a/directive/of/this/section\n")
    drop_in.write_text(f"[Service]\n# LoadCredential=a:/comment\nLoadCredential=tls.key:{tmp_path}/tls.key\n")
    return drop_in


def of_unit(unit: Path) -> dict[str, str]:
    return {"FragmentPath": str(unit.parent / "appliance.service"), "DropInPaths": str(unit)}


def test_a_credential_that_is_not_there_is_an_error_with_its_file_and_its_unit(tmp_path, unit):
    found = check(tmp_path, "credentials", **of_unit(unit))

    assert found.result is Result.ERROR
    assert found.finding == f"credential tls.key: there is no {tmp_path}/tls.key, which {unit} names"
    assert "put the file there" in found.remedy
    (tmp_path / "tls.key").write_text("key")
    assert check(tmp_path, "credentials", **of_unit(unit)).result is Result.OK


@pytest.mark.parametrize(
    "more",
    [
        "LoadCredential=\n",
        "LoadCredential=tls.key\n",  # from systemd's own stores
        "LoadCredential=tls.key:relative\n",
        "LoadCredentialEncrypted=\n",
    ],
)
def test_the_last_word_on_a_credential_counts(tmp_path, unit, more):
    unit.write_text(unit.read_text() + more)

    assert "credentials" not in {
        each.name for each in checks_of_service(StateLayout(tmp_path), lambda: RUNS | of_unit(unit), tmp_path)
    }


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_an_ordinary_user_may_not_read_is_said_and_not_raised(public_directory):
    state = public_directory / "state"
    state.mkdir(mode=0o700)
    (state / "slots").mkdir()
    (state / "registry.db").write_text("")
    settings = Settings(state_directory=state)
    with ordinary_user():
        found = [
            check_state_directory(settings),
            check_registry(settings),
            *checks_of_updates(settings),
            *checks_of_service(settings.layout, lambda: RUNS | {"User": "nobody"}, public_directory)[1:],
        ]

    assert [each.name for each in found] == ["state", "registry", "seal", "slots", "owner"]
    assert {(each.result, each.finding, each.remedy) for each in found} == {
        (Result.WARNING, f"{state} cannot be read by this user", "sudo appliance doctor")
    }


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_state_on_a_read_only_disk_is_an_error_with_the_remedy_for_disks(small_disk):
    settings = Settings(state_directory=small_disk)
    assert check_state_directory(settings).result is Result.ERROR, "a megabyte is too little"
    with ModelRegistry.open(settings.layout):
        pass
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    found = check_state_directory(settings)

    assert found.result is Result.ERROR
    assert found.finding == f"{small_disk} cannot be written: Read-only file system"
    assert f"mount -o remount,rw {small_disk}" in found.remedy
    assert check_registry(settings).finding == "0 models, 0 of them active"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask for somebody else")
def test_settings_that_the_services_user_may_not_read_are_told_apart(public_directory):
    file = public_directory / "appliance.toml"
    file.write_text("[log]\n")
    file.chmod(0o600)

    assert not may_read("nobody", file)
    assert may_read("root", file)
    file.chmod(0o644)
    assert may_read("nobody", file)
    with ordinary_user():
        file_check, _ = check_settings(file, None, "nobody")
    assert file_check.result is Result.OK
    file.chmod(0o600)
    with ordinary_user():
        file_check, _ = check_settings(file, None, "nobody")
    assert (file_check.result, file_check.remedy) == (Result.WARNING, "sudo appliance doctor")
