"""What arrives at a box, and what ends it: the drop directory, a stick, the timer, the boot check, the records."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.booted_system import BootedSystem
from tests.system.installed import UNIT, wait_ready
from tests.system.owner import Owner, seal
from tests.system.sticks import let_systemd_mount, mounts, plugged, receipts_on

pytestmark = [pytest.mark.slow, pytest.mark.root]

LOOKED_AT = "1711ff854d40494688165748055ef7fb"
NOT_ACCEPTED = "28e9386500104ce0b89b3fc1c5bcfefe"
RECEIPTS_STAY = "95e91572f1084c939919fd5a1ee7dd5b"
UNREADABLE = "6a0b5b8a991445548855fa8392a554e1"
RECORDED = {78: "e5495844c13a41acbbe5d82941f8322c", 65: "dd01005def8644ae9f63d74eca56ddcf"}


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, software_tree: Path) -> Owner:
    return Owner(tmp_path_factory.mktemp("owner"), software_tree)


@pytest.fixture(scope="module")
def bundle(owner: Owner) -> Path:
    """A bundle with a model, for all boxes."""
    return owner.model("breast-cancer")


@pytest.fixture(scope="module")
def cabinet(system: BootedSystem, package: Path, owner: Owner) -> BootedSystem:
    seal(system, package, owner)
    let_systemd_mount(system)
    return system


@contextlib.contextmanager
def mounted(system: BootedSystem, content: Path, name: str) -> Iterator[None]:
    """Make a stick of a folder and mount it where the unit would, as an administrator may."""
    place = f"/run/appliance-media/{name}"
    with plugged(system, content, name):
        system.run(f"mkdir -p {place}; mount -o ro,noexec,nosuid,nodev /dev/{name} {place}")
        yield
        system.run(f"umount {place}; rmdir {place}")


def messages(system: BootedSystem, message_id: str) -> str:
    return system.run(f"journalctl --no-pager --quiet -x MESSAGE_ID={message_id}", check=False)


def test_what_is_dropped_is_looked_at_once_it_is_ready_and_not_before(cabinet, bundle):
    shutil.copytree(bundle, cabinet.shared / "dropped")
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


def test_a_stick_with_a_bundle_is_looked_at_and_waits_for_a_person(cabinet, bundle):
    with mounted(cabinet, bundle, "sdz1"):
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


def waiting(system: BootedSystem) -> list[str]:
    names: list[str] = system.json("appliance update receipts --json")["waiting"]
    return names


def test_a_stick_takes_the_receipts_that_wait_once_it_was_looked_at(cabinet, bundle):
    before = waiting(cabinet)
    with plugged(cabinet, bundle, "sdv1"):
        mounts(cabinet)
        cabinet.run("systemctl start appliance-update@sdv1.service")
        told = cabinet.run("journalctl --unit appliance-update@sdv1.service --no-pager")
        left = cabinet.run("grep sdv1 /proc/mounts; ls -d /run/appliance-media/sdv1", check=False)

    assert mounts(cabinet) == ["ro,noexec,nosuid,nodev", "rw,sync,noexec,nosuid,nodev"]
    assert "it waits for a person" in told
    assert waiting(cabinet) == []
    assert len(receipts_on(cabinet, "sdv1")) == len(before) + 1
    assert all(name.startswith("A1-") and name.endswith(".json") for name in receipts_on(cabinet, "sdv1"))
    assert "No such file" in left
    assert " /run/appliance-media/sdv1 " not in left
    assert "medium sdv1 was looked at (status 0)" in messages(cabinet, LOOKED_AT)


@pytest.mark.parametrize(
    ("name", "stick", "why"),
    [
        ("sdu1", {"write_protected": True}, "is write-protected"),
        ("sdt1", {"features": "read-only"}, "is read-only"),
    ],
)
def test_a_stick_that_takes_nothing_leaves_the_receipts_on_the_box_and_nothing_fails(
    cabinet, bundle, name, stick, why
):
    with plugged(cabinet, bundle, name, **stick):
        cabinet.run(f"systemctl start appliance-update@{name}.service")
        said = messages(cabinet, RECEIPTS_STAY)
        left = cabinet.run(f"grep {name} /proc/mounts", check=False)

    assert f"receipts stay on the box: medium {name} {why}" in said
    assert f"medium {name} was looked at (status 0)" in messages(cabinet, LOOKED_AT)
    assert waiting(cabinet) != []
    assert receipts_on(cabinet, name) == []
    assert left == ""


def test_where_a_stick_was_pulled_out_receipts_are_not_lost(cabinet, bundle):
    """The directory is still there for a moment, on a file system that the next start of the machine empties."""
    shutil.copytree(bundle, cabinet.shared / "pulled")
    cabinet.run("mount --bind /shared/pulled /mnt && mount -o remount,ro,bind /mnt")
    cabinet.run("appliance update arrived /mnt; umount /mnt")
    kept = waiting(cabinet)
    cabinet.run("mkdir /run/appliance-media/sds1")
    status = cabinet.status_of("appliance update receipts /run/appliance-media/sds1")
    said = cabinet.run("appliance update receipts /run/appliance-media/sds1", check=False)
    left = cabinet.run("ls -A /run/appliance-media/sds1; rmdir /run/appliance-media/sds1")

    assert status == 1
    assert "the stick was pulled out" in said
    assert "next: take a stick that can be written to: appliance update receipts MEDIUM" in said
    assert left == ""
    assert waiting(cabinet) == kept != []


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
