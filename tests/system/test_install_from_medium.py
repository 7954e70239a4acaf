"""A bare box, a stick with signed software and the owner's fingerprint: what a technician does first."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.bundle.layout import BUNDLE_DIRECTORY
from tests.system.booted_system import BootedSystem
from tests.system.installed import ROOT, SITE, UNIT, infers, wait_ready
from tests.system.owner import Owner, carry, slots
from tests.system.test_install import FILES

pytestmark = [pytest.mark.slow, pytest.mark.root]

VERSION = "0.1.1"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, software_tree: Path) -> Owner:
    return Owner(tmp_path_factory.mktemp("owner"), software_tree)


@pytest.fixture(scope="module")
def stick(system: BootedSystem, owner: Owner) -> str:
    return carry(system, owner.release(VERSION))


@pytest.fixture(scope="module")
def bare(system: BootedSystem) -> set[str]:
    """The files of the machine before anything was installed; the installer lies on it."""
    out = system.shared / "installer"
    subprocess.run([sys.executable, ROOT / "scripts" / "build-installer", out], check=True, capture_output=True)
    system.boot()
    return set(system.run(FILES).splitlines())


@pytest.fixture(scope="module")
def install(owner: Owner, stick: str, bare: set[str]) -> str:
    fingerprint = hashlib.sha256(owner.publisher.root).hexdigest()
    return f"sh /shared/installer/install.sh {stick} --root-fingerprint {fingerprint}"


def test_a_dry_run_checks_everything_names_everything_and_writes_nothing(system, install, bare):
    said = system.run(f"{install} --dry-run")

    assert set(system.run(FILES).splitlines()) == bare
    assert f"software {VERSION} for Python" in said
    assert "would write /usr/lib/systemd/system/appliance.service" in said
    assert "would write /etc/appliance/owner.json" in said
    assert "enable appliance.service" in said
    assert system.status_of("ls -d /var/tmp/appliance-install.*") != 0


@pytest.mark.parametrize(
    ("fault", "repair", "status", "said"),
    [
        (
            "sed -i 's/--root-fingerprint [0-9a-f]*/--root-fingerprint {other}/' /tmp/install",
            "true",
            20,
            "none of the",
        ),
        (
            "echo >> /shared/installer/bootstrap.pyz",
            "truncate -s -1 /shared/installer/bootstrap.pyz",
            1,
            "is not the one",
        ),
        ("truncate -s -1 {blob}", "truncate -s +1 {blob}", 29, "expected"),
        ("mv {blob} /tmp/blob", "mv /tmp/blob {blob}", 28, "is not on the medium"),
        ("mv /usr/bin/openssl /tmp", "mv /tmp/openssl /usr/bin", 32, "there is no openssl"),
    ],
    ids=["another owner", "another program", "a byte short", "a file short", "no openssl"],
)
def test_what_is_wrong_is_named_and_nothing_is_laid_out(system, stick, install, bare, fault, repair, status, said):
    blobs = f"{stick}/{BUNDLE_DIRECTORY}/oci/blobs/sha256"
    words = {"other": "0" * 64, "blob": system.run(f"ls -S -d {blobs}/* | head -1").strip()}
    system.run(f"echo '{install}' > /tmp/install; {fault.format(**words)}")
    found = system.status_of("sh /tmp/install")
    told = system.run("sh /tmp/install", check=False)
    system.run(repair.format(**words))

    assert found == status, told
    assert said in told
    assert "next: " in told
    assert set(system.run(FILES).splitlines()) == bare
    assert system.status_of("ls -d /var/tmp/appliance-install.*") != 0


def test_it_is_installed_from_the_stick_and_serves_and_a_second_time_changes_nothing(system, install, tmp_path):
    said = system.run(install)
    wait_ready(system)
    once, trees = system.run(FILES), slots(system)
    subprocess.run([ROOT / "scripts" / "lay-out", tmp_path / "root"], check=True)
    laid_out = sorted(path for path in (tmp_path / "root").rglob("*") if path.is_file())

    assert "appliance provision --root /etc/appliance/owner.json" in said
    assert (trees["current"], trees["slots"]["A"]["version"]) == ("A", VERSION)
    assert len(laid_out) > 20
    for path in laid_out:
        place = f"/{path.relative_to(tmp_path / 'root')}"
        found = system.run(f"stat -c %a {place}; sha256sum < {place}").split()
        assert found[:2] == [f"{path.stat().st_mode & 0o777:o}", hashlib.sha256(path.read_bytes()).hexdigest()], place
    assert system.run(f"stat -c '%U %a' {SITE}").split() == ["root", "755"]

    system.run(install)
    wait_ready(system)

    assert system.run(FILES) == once
    assert slots(system)["slots"] == trees["slots"]


def test_the_owner_it_was_installed_by_is_the_owner_it_gets(system, owner, install, stick):
    system.run(f"systemctl stop {UNIT}")
    system.run("appliance provision --root /etc/appliance/owner.json --serial A1 --hardware pc --site hall-1")
    system.run(f"systemctl start {UNIT}")
    wait_ready(system)
    subprocess.run(["cp", "-r", ROOT / "models", system.shared], check=True)
    system.run(f"appliance update apply {carry(system, owner.model('digits'))}")
    status = system.status_of(install)
    said = system.run(install, check=False)

    assert infers(system)
    assert status == 1
    assert "this box has an owner" in said
    assert f"next: appliance update apply {stick}" in said
