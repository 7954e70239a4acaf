"""`appliance doctor`."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli.check import Result
from appliance.cli.installed_packages import is_within, requirements
from appliance.cli.state_checks import check_registry, check_state_directory
from appliance.daemon.state_lock import state_lock
from appliance.errors import Failed
from appliance.registry.database import Database
from appliance.registry.migrations import MIGRATIONS
from appliance.settings import load_settings
from appliance.state_layout import LONGEST_SOCKET_PATH_BYTES
from tests.cli.conftest import ordinary_user
from tests.cli.terminal import ROOT, WIDTH, Terminal, appliance, clean_environment
from tests.updates.boxes import Publisher


def test_it_works_with_the_daemon_down_and_says_how_to_start_it(terminal: Terminal) -> None:
    result = terminal.appliance("doctor")

    assert "appliance serve --state" in " ".join(result.out.split())
    assert result.widest <= WIDTH


def test_a_healthy_box_has_no_error(serving: Terminal) -> None:
    checks = {check["name"]: check for check in serving.appliance("doctor", "--json").json}

    assert {check["result"] for check in checks.values()} <= {"ok", "warning"}
    assert checks["onnxruntime"]["finding"].endswith("computes with CPUExecutionProvider")
    assert checks["telemetry"]["result"] == "ok"
    assert "not served: broken 1" in checks["daemon"]["finding"]
    assert all(check["remedy"] for check in checks.values() if check["result"] != "ok")


def test_settings_that_are_not_valid_are_an_error_and_the_rest_is_examined(tmp_path: Path) -> None:
    settings = tmp_path / "appliance.toml"
    settings.write_text("nonsense = [")

    result = appliance("doctor", "--config", settings, "--state", tmp_path, "--json")

    assert result.code == 1
    assert [check["name"] for check in result.json if check["result"] == "error"] == ["settings"]
    assert "not valid TOML" in result.story


def test_a_damaged_registry_is_an_error(terminal: Terminal) -> None:
    (terminal.state / "registry.db").write_text("this is no database")

    result = terminal.appliance("doctor", "--json", code=1)

    assert [check["name"] for check in result.json if check["result"] == "error"] == ["registry"]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_registry_of_an_older_form_that_may_only_be_read_is_an_error_with_its_remedy(
    public_directory: Path,
) -> None:
    settings = load_settings(None, {"state_directory": public_directory})
    Database(settings.layout.database).prepare(MIGRATIONS[:1])

    with ordinary_user():
        check = check_registry(settings)

    assert (check.result, check.remedy.split(":")[0]) == (Result.ERROR, "the service brings it there when it starts")
    assert "registry.db has schema 1" in check.finding


def test_variables_that_lead_outside_are_a_warning(terminal: Terminal) -> None:
    environment = {"https_proxy": "http://203.0.113.1:3128", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://203.0.113.1"}

    checks = terminal.appliance("doctor", "--json", environment=environment).json

    found = next(check for check in checks if check["name"] == "variables")
    assert found["result"] == "warning"
    assert "https_proxy" in found["finding"]


def test_a_state_directory_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = appliance("doctor", "--state", tmp_path / "file", "--json")

    assert result.code == 1
    assert "state" in [check["name"] for check in result.json if check["result"] == "error"]


@pytest.mark.parametrize("too_long", [0, 1])
def test_doctor_and_daemon_agree_how_long_the_path_of_a_socket_may_be(terminal: Terminal, too_long: int) -> None:
    rest_bytes = LONGEST_SOCKET_PATH_BYTES - len(f"{terminal.state}//run/admin.sock") + too_long
    settings = load_settings(None, {"state_directory": terminal.state / ("x" * rest_bytes)})

    check = check_state_directory(settings)

    assert len(str(settings.layout.admin_socket)) == LONGEST_SOCKET_PATH_BYTES + too_long
    assert (check.result is Result.ERROR) == bool(too_long)
    expected = pytest.raises(Failed, match="at most 107 work") if too_long else contextlib.nullcontext()
    with expected, state_lock(settings.layout):
        pass


@pytest.mark.parametrize(
    ("version", "ranges", "expected"),
    [
        ("1.28.0", "<1.29,>=1.28", True),
        ("1.28", ">=1.28.0", True),
        ("1.29.0", "<1.29,>=1.28", False),
        ("1.9", ">=1.28", False),
        ("2.0.1.dev3", ">=2,<3", True),
        ("1.20.0", "==1.20.0", True),
        ("5", "", True),
    ],
)
def test_version_ranges_are_understood(version: str, ranges: str, expected: bool) -> None:
    assert is_within(version, ranges) is expected


def test_the_runtime_s_range_is_known() -> None:
    extras = requirements(optional=True)

    assert extras
    assert not is_within("1.29.0", extras["onnxruntime"])
    assert is_within("1.28.0", extras["onnxruntime"])


def test_a_sealed_box_is_examined_too(terminal: Terminal, tmp_path: Path) -> None:
    owner = Publisher(tmp_path / "owner")
    owner.hold_ceremony()
    root = tmp_path / "root.json"
    root.write_bytes(owner.root)
    terminal.appliance("provision", "--root", root, "--serial", "A1", "--hardware", "pc", "--site", "hall-1")
    found = {check["name"]: check for check in terminal.appliance("doctor", "--json").json}
    assert found["seal"]["finding"] == "A1 at hall-1, trusts root 1 of its owner"
    assert found["audit log"]["result"] == found["update"]["result"] == found["clock floor"]["result"] == "ok"

    for name in ("floor.a", "floor.b"):
        (terminal.state / "trust" / name).unlink()
    damaged = {check["name"]: check for check in terminal.appliance("doctor", "--json", code=1).json}
    assert damaged["seal"]["result"] == "error"
    assert damaged["seal"]["remedy"]


CLOCK = "import sys; from appliance.cli.checks import check_clock; print(check_clock(lambda: float(sys.argv[1])))"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clock_s", "result", "finding"),
    [
        (0.0, "WARNING", "1970-01-01 00:00 UTC cannot be right: this software is of"),
        (86400.0, "WARNING", "cannot be right"),
        (1_795_478_400.0, "OK", "2026-11-24"),
        (2_840_140_800.0, "WARNING", "2060-01-01 00:00 UTC is far off"),
    ],
)
def test_the_clock_is_judged_by_the_release_and_not_by_times_that_it_wrote_itself(tmp_path, clock_s, result, finding):
    package = tmp_path / "appliance"
    shutil.copytree(ROOT / "appliance", package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (package, *package.rglob("*")):
        os.utime(file, (0, 0))  # as installed by a machine whose clock had lost its battery
    told = subprocess.run(
        [sys.executable, "-B", "-c", CLOCK, str(clock_s)],
        cwd=tmp_path,
        env=clean_environment() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert f"Result.{result}" in told
    assert finding in told


def test_a_daemon_that_serves_not_everything_has_its_addresses(serving: Terminal) -> None:
    checks = {check["name"]: check for check in serving.appliance("doctor", "--json").json}

    assert checks["daemon"]["result"] == "warning"
    assert checks["addresses"]["finding"] == "held by the daemon"
