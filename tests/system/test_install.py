"""Installing from a directory, with the script a technician runs: dry, twice, over an older one, and out again."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.slots.tree import DESCRIPTION, read_software, write_file_list
from tests.rpc.native_tests import needs_extension
from tests.system.booted_system import BootedSystem
from tests.system.installed import ROOT, UNIT, add_models, infers, wait_ready
from tests.system.owner import slots

pytestmark = [pytest.mark.slow, pytest.mark.root]

# Everything that an installation could leave; below /var other programs of this system write all the time.
FILES = (
    "find /usr /etc /var /opt /root /home ! -type d \\( -path '/var/*appliance*' -o ! -path '/var/*' \\) "
    "! -name '*.pyc' ! -path '/etc/.pwd.lock' | sort"
)
STATE = ("/var/lib/appliance", "/var/lib/appliance-drop", "/var/log/appliance", "/etc/appliance")
DROP_INS = "/etc/systemd/system/appliance.service.d"


def directory(tree: Path, out: Path) -> Path:
    """Make the directory that is carried to a box without apt."""
    command = [ROOT / "scripts" / "build-deb", "--software", tree, "--directory", out]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def carried(software_tree: Path, system: BootedSystem) -> str:
    """The directory of this checkout, as the machine sees it."""
    made = directory(software_tree, system.shared / "stick")
    shutil.copytree(ROOT / "models", system.shared / "models")
    for path in (made, *made.rglob("*")):
        path.chmod(0o700)  # as on a medium that knows no modes
    return f"/shared/stick/{made.name}"


@pytest.fixture(scope="module")
def bare(system: BootedSystem, carried: str) -> set[str]:
    """The files of the machine before anything was installed."""
    system.boot()
    return set(system.run(FILES).splitlines())


def test_a_dry_run_names_everything_and_writes_nothing(system, carried, bare):
    said = system.run(f"sh {carried}/install.sh --dry-run")

    assert set(system.run(FILES).splitlines()) == bare
    assert "would write /usr/lib/systemd/system/appliance.service" in said
    assert "would write /etc/appliance/appliance.toml" in said
    assert "enable appliance.service" in said
    assert "start appliance.service" in said


def test_a_damaged_copy_is_refused_before_anything_is_written(system, carried, bare):
    victim = f"{carried}/root/usr/lib/appliance/rescue/site/appliance/errors.py"
    system.run(f"cp {victim} /tmp/errors.py && echo >> {victim}")
    status = system.status_of(f"sh {carried}/install.sh")
    said = system.run(f"sh {carried}/install.sh", check=False)
    system.run(f"cp /tmp/errors.py {victim}")

    assert status == 1
    assert "is damaged" in said
    assert "next: copy it again" in said
    assert set(system.run(FILES).splitlines()) == bare


@needs_extension
@pytest.mark.usefixtures("bare")
def test_it_serves_over_the_native_transport_that_was_brought_along(system, carried):
    """As the unit confines it: no memory that is written and executed, few system calls."""
    system.run(f"sh {carried}/install.sh")
    wait_ready(system)

    assert "(transport: native)" in system.run("journalctl -u appliance.service --no-pager -o cat")
    assert ", native, process " in system.run("appliance status")


@pytest.mark.usefixtures("bare")
def test_it_is_installed_and_serves_and_a_second_time_changes_nothing(system, carried):
    system.run(f"sh {carried}/install.sh")
    wait_ready(system)
    add_models(system)
    assert infers(system)
    system.run("echo '# by hand' >> /etc/appliance/appliance.toml")
    before, trees = system.run(FILES), slots(system)["slots"]

    system.run(f"sh {carried}/install.sh")
    wait_ready(system)

    assert infers(system)
    assert slots(system)["slots"] == trees
    assert "# by hand" in system.run("cat /etc/appliance/appliance.toml")
    gone = set(before.splitlines()) - set(system.run(FILES).splitlines())
    assert {path for path in gone if not path.startswith("/var/")} == set()


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("/dev/nvidiactl", {"10-gpu.conf"}),
        ("/etc/nv_tegra_release", {"10-jetson.conf"}),
        ("/dev/nvidiactl /etc/nv_tegra_release", {"10-jetson.conf"}),
    ],
)
def test_the_drop_ins_are_those_of_what_the_host_has(system, there, wanted):
    optional = {"10-notify-reload.conf"}
    before = set(system.run(f"ls {DROP_INS} 2>/dev/null", check=False).split())
    system.run(f"touch {there} && /usr/lib/appliance/host-setup configure")
    chosen = set(system.run(f"ls {DROP_INS}").split())
    shown = system.show(UNIT, "PrivateDevices", "MemoryDenyWriteExecute")
    system.run(f"rm {there} && /usr/lib/appliance/host-setup configure")
    wait_ready(system)
    after = set(system.run(f"ls {DROP_INS} 2>/dev/null", check=False).split())

    assert chosen - optional == wanted
    assert shown == {"PrivateDevices": "no", "MemoryDenyWriteExecute": "no"}
    assert after == before
    assert system.show(UNIT, "PrivateDevices") == {"PrivateDevices": "yes"}


def test_a_newer_one_is_tried_beside_what_runs_and_kept(system, software_tree, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(software_tree, tree)
    newer = replace(read_software(tree), version="0.1.1")
    (tree / DESCRIPTION).write_bytes(newer.to_bytes())
    write_file_list(tree)
    made = directory(tree, system.shared / "newer")

    system.run(f"sh /shared/newer/{made.name}/install.sh")
    wait_ready(system)
    system.wait_until(lambda: slots(system)["trial"] is None, "no trial is open")

    assert slots(system)["slots"][slots(system)["current"]]["version"] == "0.1.1"
    assert infers(system)


def test_it_is_taken_out_and_nothing_is_left_but_what_is_named(system, bare):
    system.run("cp /usr/lib/appliance/uninstall.sh /shared/")
    dry = system.run("sh /shared/uninstall.sh --dry-run")
    assert "would remove /usr/lib/systemd/system/appliance.service" in dry
    assert infers(system)

    said = system.run("sh /shared/uninstall.sh")
    named = [line.removeprefix("left: ") for line in said.splitlines() if line.startswith("left: /")]
    left = set(system.run(FILES).splitlines()) - bare

    accounts = {f"/etc/{name}{dash}" for name in ("passwd", "group", "shadow", "gshadow") for dash in ("", "-")}
    assert {path for path in left - accounts if not path.startswith(tuple(f"{place}/" for place in named))} == set()
    assert "/var/lib/appliance" in named
    assert "left: the user and group 'appliance'" in said
    assert system.status_of(f"systemctl cat {UNIT}") != 0
    assert bare <= set(system.run(FILES).splitlines())


def test_it_is_taken_out_with_its_state_and_nothing_of_the_state_is_left(system, bare, carried):
    system.run(f"sh {carried}/install.sh")
    wait_ready(system)
    assert infers(system)  # the state of before is its own again
    system.run(
        "cp /usr/lib/appliance/uninstall.sh /shared/ && touch /var/log/appliance/incident-20260101T000000Z.txt"
    )

    dry = system.run("sh /shared/uninstall.sh --state --dry-run")
    assert infers(system)
    said = system.run("sh /shared/uninstall.sh --state")
    left = {path for path in set(system.run(FILES).splitlines()) - bare if "appliance" in path}

    assert {f"would delete: {place}" for place in STATE} <= set(dry.splitlines())
    assert [place for place in STATE if system.status_of(f"test -e {place}") == 0] == []
    assert left == set()
    assert "left: /" not in said
    assert "left: the user and group 'appliance'" in said
    assert system.status_of("getent passwd appliance") == 0
    assert system.status_of("pgrep -u appliance") != 0
    assert system.status_of(f"systemctl cat {UNIT}") != 0
