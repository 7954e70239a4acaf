"""What arrives at a box, and what ends it: the drop directory, a stick, the timer, the boot check, the records."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.booted_system import BootedSystem
from tests.system.installed import UNIT, wait_ready
from tests.system.owner import Owner, seal

pytestmark = [pytest.mark.slow, pytest.mark.root]

STICK_BYTES = 32 * 1024 * 1024
LOOKED_AT = "1711ff854d40494688165748055ef7fb"
NOT_ACCEPTED = "28e9386500104ce0b89b3fc1c5bcfefe"
UNREADABLE = "6a0b5b8a991445548855fa8392a554e1"
RECORDED = {78: "e5495844c13a41acbbe5d82941f8322c", 65: "dd01005def8644ae9f63d74eca56ddcf"}


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, software_tree: Path) -> Owner:
    return Owner(tmp_path_factory.mktemp("owner"), software_tree)


@pytest.fixture(scope="module")
def cabinet(system: BootedSystem, package: Path, owner: Owner) -> BootedSystem:
    seal(system, package, owner)
    return system


@contextlib.contextmanager
def mounted(system: BootedSystem, content: Path, name: str) -> Iterator[str]:
    """Make a stick of a folder and mount it where the unit would; without udev systemd mounts no device by itself."""
    image = system.shared / f"{name}.img"
    with image.open("wb") as stream:
        stream.truncate(STICK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-L", "APPLIANCE", "-d", content, image], check=True, capture_output=True)
    looped = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if looped.returncode:
        pytest.skip(f"loop devices are not permitted here: {looped.stderr.strip()}")
    device = Path(looped.stdout.strip())
    place, number = f"/run/appliance-media/{name}", device.stat().st_rdev
    try:
        system.run(f"mknod -m 600 /dev/{name} b {os.major(number)} {os.minor(number)}; mkdir -p {place}")
        system.run(f"mount -o ro,noexec,nosuid,nodev /dev/{name} {place}")
        yield place
        system.run(f"umount {place}; rmdir {place}")
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def messages(system: BootedSystem, message_id: str) -> str:
    return system.run(f"journalctl --no-pager --quiet -x MESSAGE_ID={message_id}", check=False)


def test_what_is_dropped_is_looked_at_once_it_is_ready_and_not_before(cabinet, owner):
    stick = owner.model("breast-cancer")
    stick.rename(cabinet.shared / "dropped")
    runs = "systemctl show appliance-drop.service --property=ExecMainStartTimestampMonotonic --value"
    cabinet.run("cp -r /shared/dropped/. /var/lib/appliance-drop/ && chown -R appliance: /var/lib/appliance-drop/*")
    assert cabinet.run(runs).strip() == "0"

    cabinet.run("touch /var/lib/appliance-drop/ready")
    cabinet.wait_until(lambda: cabinet.run(runs).strip() != "0", "the drop directory is looked at", 20)
    state = "systemctl show appliance-drop.service --property=ActiveState --value"
    cabinet.wait_until(lambda: cabinet.run(state).strip() in ("inactive", "failed"), "it has ended", 60)

    said = cabinet.run("journalctl --unit appliance-drop.service --no-pager")
    assert "it waits for a person" in said
    assert cabinet.show("appliance-drop.service", "ExecMainStatus") == {"ExecMainStatus": "0"}
    assert "breast-cancer" not in cabinet.run("appliance models list --json")
    cabinet.run("rm -rf /var/lib/appliance-drop/*")


def test_a_stick_with_a_bundle_is_looked_at_and_waits_for_a_person(cabinet, owner):
    with mounted(cabinet, owner.model("breast-cancer"), "sdz1"):
        cabinet.run("systemctl start appliance-update@sdz1.service")
        said = messages(cabinet, LOOKED_AT)

    assert "medium sdz1 was looked at" in said
    assert "appliance update apply DIRECTORY" in said
    assert "it waits for a person" in cabinet.run("journalctl --unit appliance-update@sdz1.service --no-pager")
    assert "breast-cancer" not in cabinet.run("appliance models list --json")
    assert cabinet.run("find /var/lib/appliance ! -user appliance") == ""


def test_a_stick_without_a_bundle_is_not_accepted_and_the_service_goes_on(cabinet, tmp_path):
    with mounted(cabinet, tmp_path, "sdx1"):
        status = cabinet.status_of("systemctl start appliance-update@sdx1.service")
        said = messages(cabinet, NOT_ACCEPTED)

    assert status == 1
    assert "medium sdx1 was not accepted" in said
    assert "The medium can be taken out" in " ".join(said.split())
    assert cabinet.run(f"systemctl is-active {UNIT}").strip() == "active"


def test_the_unit_may_have_systemd_mount_and_may_not_mount_itself(cabinet):
    place = "/run/appliance-media/sdw1"
    said = "systemd-mount --quiet --collect --options=ro,noexec,nosuid,nodev --type=tmpfs tmpfs $place"
    script = f"place={place}; mkdir $place; {said} && grep $place /proc/mounts && systemd-umount --quiet $place"
    (cabinet.shared / "mounts").write_text(f"#!/bin/sh\n{script}; rmdir $place; mount -t tmpfs tmpfs /mnt\n")
    cabinet.run("mkdir -p /run/systemd/system/appliance-update@sdw1.service.d")
    drop_in = "/run/systemd/system/appliance-update@sdw1.service.d/test.conf"
    cabinet.run(f"printf '[Service]\\nExecStart=\\nExecStart=/bin/sh /shared/mounts\\n' > {drop_in}")
    cabinet.run("systemctl daemon-reload")
    cabinet.run("systemctl start appliance-update@sdw1.service", check=False)

    told = cabinet.run("journalctl --unit appliance-update@sdw1.service --no-pager")
    assert f"{place} tmpfs ro,nosuid,nodev,noexec" in told
    assert "Bad system call" in told
    assert cabinet.run(f"grep -e {place} -e ' /mnt ' /proc/mounts", check=False) == ""


def test_a_stick_that_is_gone_already_is_named(cabinet):
    status = cabinet.status_of("systemctl start appliance-update@sdy1.service")

    assert status == 1
    assert "medium sdy1 cannot be read" in messages(cabinet, UNREADABLE)


def test_the_rule_names_the_unit_of_the_label_and_of_no_other(cabinet):
    rule = cabinet.run("grep -v '^#' /usr/lib/udev/rules.d/80-appliance.rules")

    assert 'ENV{ID_FS_LABEL}=="APPLIANCE|APPLIANCE-UPDATE"' in rule
    assert 'SYSTEMD_WANTS}+="appliance-update@%k.service"' in rule


def test_the_scrub_waits_for_its_day_and_reads_every_model(cabinet):
    timer = cabinet.show("appliance-scrub.timer", "ActiveState", "Persistent", "RandomizedDelayUSec")
    assert timer == {"ActiveState": "active", "Persistent": "yes", "RandomizedDelayUSec": "1d"}

    cabinet.run("systemctl start appliance-scrub.service")
    assert cabinet.show("appliance-scrub.service", "Result") == {"Result": "success"}


def test_the_boot_is_good_when_the_service_serves(cabinet):
    cabinet.run("systemctl start boot-complete.target")

    assert cabinet.show("appliance-boot-check.service", "Result") == {"Result": "success"}
    assert cabinet.run("systemctl is-active boot-complete.target").strip() == "active"


@pytest.mark.parametrize(
    ("status", "fault", "remedy"),
    [
        (78, "echo '[server' > /etc/appliance/appliance.toml", "rm /etc/appliance/appliance.toml"),
        (
            65,
            (
                "cd /var/lib/appliance && cp registry.db /root/ && rm -f registry.db-*; "
                "head -c 4096 /dev/urandom > registry.db"
            ),
            "cp /root/registry.db /var/lib/appliance/registry.db; chown appliance: /var/lib/appliance/registry.db",
        ),
    ],
)
def test_where_another_start_cannot_help_there_is_one_record_and_no_loop(cabinet, status, fault, remedy):
    cabinet.run("rm -f /var/log/appliance/*")
    cabinet.run(f"systemctl stop {UNIT}; {fault}")
    cabinet.run(f"systemctl start {UNIT}", check=False)
    cabinet.wait_until(lambda: cabinet.show(UNIT, "ActiveState")["ActiveState"] == "failed", "failed")
    cabinet.wait_until(lambda: cabinet.status_of("ls /var/log/appliance/incident-*.txt") == 0, "a record")
    failure = f"appliance-failure@{UNIT}.service"
    cabinet.wait_until(lambda: cabinet.show(failure, "ActiveState")["ActiveState"] == "inactive", "it is written")

    assert cabinet.show(UNIT, "ExecMainStatus", "NRestarts") == {"ExecMainStatus": str(status), "NRestarts": "0"}
    assert len(cabinet.run("ls /var/log/appliance").split()) == 1
    said = messages(cabinet, RECORDED[status])
    assert "incident-" in said
    assert "Next: appliance doctor" in said
    assert RECORDED[status] in cabinet.run(f"journalctl --unit {UNIT} --no-pager --output json")
    cabinet.run(f"{remedy}; systemctl start {UNIT}")
    wait_ready(cabinet)


def test_of_many_records_the_newest_twenty_are_kept(cabinet):
    cabinet.run("for n in $(seq 10 40); do touch /var/log/appliance/incident-20200101T0000${n}Z.txt; done")
    cabinet.run(f"systemctl start appliance-failure@{UNIT}.service")
    names = cabinet.run("ls /var/log/appliance").split()

    assert len(names) == 20
    assert "incident-20200101T000010Z.txt" not in names
    assert not names[-1].startswith("incident-20200101")
