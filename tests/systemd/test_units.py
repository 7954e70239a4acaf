"""What systemd, and its journal, say of the units as they are shipped."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.journal_messages import Event

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "systemd"
KINDS = (".service", ".socket", ".path", ".timer", ".slice")
SCRIPTS = ("record-failure", "medium-arrived")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")

# Directives that hold more than a score: what goes wrong where one is changed stands beside it.
PROMISES = {
    "Type": "notify",
    "NotifyAccess": "main",
    "Restart": "always",  # an appliance comes back however it ended
    "RestartPreventExitStatus": "2 65 73 78 243",  # where another start cannot help
    "WatchdogSignal": "SIGABRT",
    "WatchdogSec": "30",
    "OOMPolicy": "stop",
    "LimitCORE": "0",  # no payload in a core dump
    "StartLimitIntervalSec": "0",  # the selector needs the next start to go back
    "RuntimeDirectoryPreserve": "restart",  # it holds that a slot was checked since the machine started
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "IPAddressDeny": "any",
}


def units() -> list[Path]:
    return sorted(path for path in UNITS.iterdir() if path.suffix in KINDS)


def directives(unit: Path) -> list[tuple[str, str]]:
    lines = (line.strip() for line in unit.read_text().splitlines())
    return [(line.partition("=")[0], line.partition("=")[2]) for line in lines if line and line[0] not in "#["]


def verified(directory: Path, drop_in: str = "") -> str:
    """Return what systemd finds in the units, with the programs that they start in their places."""
    programs = directory / "lib"
    programs.mkdir()
    for name in SCRIPTS:
        shutil.copy(UNITS / name, programs)
    copies = [directory / unit.name for unit in units()]
    for unit, copy in zip(units(), copies, strict=True):
        copy.write_text(unit.read_text().replace("/usr/lib/appliance/", f"{programs}/"))
    if drop_in:
        (directory / "appliance.service.d").mkdir()
        shutil.copy(UNITS / "drop-ins" / f"{drop_in}.conf", directory / "appliance.service.d")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *copies],
        env={"SYSTEMD_UNIT_PATH": f"{directory}:", "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else f"{done.stdout}exit status {done.returncode}"


def explained() -> set[str]:
    return set(re.findall(r"^-- ([0-9a-f]{32})$", (UNITS / "appliance.catalog").read_text(), re.MULTILINE))


@needs_systemd
@pytest.mark.slow
@pytest.mark.parametrize("drop_in", ["", "gpu", "jetson"])
def test_systemd_finds_nothing_to_say_against_the_units(tmp_path, drop_in):
    assert verified(tmp_path, drop_in) == ""


@needs_systemd
def test_systemd_says_so_where_a_unit_names_what_is_not_there(tmp_path):
    unit = tmp_path / "wrong.service"
    unit.write_text("[Service]\nExecStart=/nowhere/program\nNoSuchDirective=1\n")
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)

    assert "/nowhere/program" in done.stderr
    assert "NoSuchDirective" in done.stderr


@pytest.mark.parametrize("name", PROMISES)
def test_the_service_keeps_its_promises(name):
    values = [value for key, value in directives(UNITS / "appliance.service") if key == name]

    assert values == [PROMISES[name]]


def test_only_a_systemd_that_knows_notify_reload_gets_it():
    setup = (ROOT / "scripts" / "host-setup").read_text()

    assert "-lt 253 ] || echo notify-reload" in setup
    assert ("Type", "notify-reload") in directives(UNITS / "drop-ins" / "notify-reload.conf")


@pytest.mark.parametrize("unit", [unit.name for unit in units()])
def test_no_directive_is_given_twice_but_those_that_add_up(unit):
    adding = {"SystemCallFilter", "After", "DeviceAllow"}
    names = [name for name, _ in directives(UNITS / unit) if name not in adding]

    assert len(names) == len(set(names))


def test_what_is_said_to_the_journal_is_explained_and_nothing_else_is():
    said = {found for name in SCRIPTS for found in re.findall(r"\b[0-9a-f]{32}\b", (UNITS / name).read_text())}

    assert said | {event.value for event in Event} == explained()


def test_each_explanation_says_what_is_safe_and_what_to_type_next_in_80_columns():
    entries = re.split(r"^-- [0-9a-f]{32}$", (UNITS / "appliance.catalog").read_text(), flags=re.MULTILINE)[1:]

    assert entries
    for entry in entries:
        assert "\nSubject: " in entry
        assert "\nStill safe: " in entry
        assert "\nNext: " in entry
        assert max(map(len, entry.splitlines())) <= 80


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="journalctl is not installed")
def test_the_journal_can_read_every_explanation(tmp_path):
    place = tmp_path / "usr/lib/systemd/catalog"
    place.mkdir(parents=True)
    shutil.copy(UNITS / "appliance.catalog", place)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    command = ["journalctl", f"--root={tmp_path}"]
    subprocess.run([*command, "--update-catalog"], check=True, capture_output=True)
    listed = subprocess.run([*command, "--list-catalog"], check=True, capture_output=True, text=True).stdout

    assert {line.split()[0] for line in listed.splitlines()} == explained()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing_in_what_runs_as_root():
    scripts = [UNITS / name for name in SCRIPTS]
    scripts += [
        ROOT / "scripts" / name for name in ("host-setup", "lay-out", "build-deb", "install.sh", "uninstall.sh")
    ]
    scripts.append(ROOT / "tests" / "system" / "enter_guest.sh")
    found = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)

    assert found.stdout == ""
