"""A bare box and a stick: it takes what the owner with the fingerprint signed for it, and nothing else.

The program runs as on a box: one file, this system's own Python, nothing else to import.
"""

import hashlib
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.bootstrap.taking import OWNER_ROOT, RESCUE
from appliance.bundle.layout import BUNDLE_DIRECTORY
from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from appliance.publish.key_changes import role_keys, rotate_key
from appliance.slots.tree import check_tree, read_software, tree_digest
from tests.bootstrap.conftest import build_installer
from tests.bootstrap.taken import assert_refused
from tests.updates.forging import change, metadata_of, newest, signers_of, vouch_again

ROOT = Path(__file__).resolve().parents[2]
# Signed by nobody, or of no use to a bare box: no byte of them reaches it.
UNREAD = ("hint.json", "oci/index.json", "oci/oci-layout", "models-factory.json", "config-", "policy.json")


def test_the_installer_is_built_twice_with_the_same_bytes_and_says_what_to_compare(program, tmp_path):
    said = build_installer(tmp_path / "again")
    script = (tmp_path / "again/install.sh").read_bytes()

    assert (tmp_path / "again/bootstrap.pyz").read_bytes() == program.read_bytes()
    assert script == program.with_name("install.sh").read_bytes()
    assert hashlib.sha256(script).hexdigest() in said
    assert hashlib.sha256(program.read_bytes()).hexdigest().encode() in script


def test_what_the_owner_signed_is_laid_out_as_it_shall_lie_on_the_box(releases, publisher, take):
    taken = take(releases.stick("good"))

    assert taken.status == 0, taken.said
    assert (taken.root / OWNER_ROOT).read_bytes() == publisher.root
    tree = taken.root / RESCUE
    assert check_tree(tree, tree_digest(publisher.directory / "trees/good")) == ""
    assert [path.name for path in taken.out.iterdir()] == ["root"]
    assert (taken.root / "usr/bin/appliance").stat().st_mode & 0o777 == 0o755
    assert (taken.root / "etc/appliance/appliance.toml").stat().st_mode & 0o777 == 0o644
    assert "is for every box of this owner" in taken.said


def test_the_owner_may_be_named_by_the_root_file_itself_but_not_by_one_on_the_stick(
    releases, publisher, take, tmp_path
):
    stick = releases.stick("good")
    (tmp_path / "root.json").write_bytes(publisher.root)
    (stick / "root.json").write_bytes(publisher.root)

    assert take(stick, "--root", tmp_path / "root.json").status == 0
    vouching_for_itself = take(stick, "--root", stick / "root.json")
    assert vouching_for_itself.status == 2
    assert "bring it another way" in vouching_for_itself.said


def test_without_a_fingerprint_or_with_another_owners_nothing_is_taken(releases, take, tmp_path):
    stick = releases.stick("good")

    assert_refused(take(stick, "--root-fingerprint", "0" * 64), 20, "has the fingerprint 000")
    nobody = take(stick, "--bundle", BUNDLE_DIRECTORY)
    assert nobody.status == 2
    assert "whom shall this box trust?" in nobody.said


@pytest.mark.slow
def test_no_byte_of_what_is_taken_can_be_another(releases, take, tmp_path):
    stick = releases.stick("good")
    bundle = stick / BUNDLE_DIRECTORY
    files = sorted(path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file())
    manifest = json.loads(next(bundle.glob("targets/software/*/*")).read_bytes())
    read = {layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]}
    refused = []
    for file in files:
        whole = (bundle / file).read_bytes()
        (bundle / file).write_bytes(
            whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :]
        )
        taken = take(stick)
        (bundle / file).write_bytes(whole)
        if taken.status:
            assert taken.status in (20, 21, 28, 29), (file, taken.said)
            assert "Traceback" not in taken.said
            refused.append(file)

    expected = [
        file
        for file in files
        if not any(name in str(file) for name in UNREAD) and (file.parent.name != "sha256" or file.name in read)
    ]
    assert refused == expected
    assert len(read) > 2


@pytest.mark.parametrize("kept", [0, 1, 4095])
def test_a_part_that_is_cut_short_is_named_with_its_size(releases, take, kept):
    stick = releases.stick("good")
    blobs = stick / BUNDLE_DIRECTORY / "oci/blobs/sha256"
    victim = next(path for path in sorted(blobs.iterdir()) if path.stat().st_size == 4096)
    victim.write_bytes(victim.read_bytes()[:kept])

    assert_refused(take(stick), 29, f"{victim.name} has {kept} bytes, expected 4096")
    victim.unlink()
    assert_refused(take(stick), 28, f"{victim.name} is not on the medium")


@pytest.mark.parametrize(
    ("role", "count", "status"),
    [("software", 1, 21), ("targets", 1, 21), ("tickets", 0, 20), ("snapshot", 0, 20), ("timestamp", 0, 20)],
)
def test_with_fewer_signatures_than_it_takes_nothing_is_taken(releases, publisher, take, role, count, status):
    stick = releases.stick("good")
    change(stick, role, lambda _: None, signers_of(publisher, role, count))
    if role not in ("timestamp", "snapshot"):
        vouch_again(publisher, stick, role)
    if role == "snapshot":
        data = newest(stick, "snapshot").read_bytes()

        def name_snapshot(timestamp: Any) -> None:
            meta = timestamp.snapshot_meta
            meta.length, meta.hashes = len(data), {"sha256": hashlib.sha256(data).hexdigest()}

        change(stick, "timestamp", name_snapshot, signers_of(publisher, "timestamp"))

    assert_refused(take(stick), status, f"'{role}' version")


def test_one_key_that_signs_twice_is_one_key(releases, publisher, take):
    stick = releases.stick("good")
    path = newest(stick, "software")
    document = json.loads(path.read_bytes())
    document["signatures"][1] = document["signatures"][0]
    path.write_text(json.dumps(document))
    vouch_again(publisher, stick, "software")

    assert_refused(take(stick), 20, "a key signs twice")


def test_the_newest_root_counts_whichever_root_the_person_knows(releases, publisher, take):
    with publisher.opened() as station:
        for _ in range(2):
            keys, _threshold = role_keys(station)["root"]
            rotate_key(station, "root", keys[0][:16])
    stick = releases.stick("good")
    roots = sorted(metadata_of(stick).glob("*.root.json"))

    assert len(roots) == 3
    for root in roots:
        taken = take(stick, "--root", shutil.copy(root, publisher.directory))
        assert taken.status == 0, taken.said
        assert (taken.root / OWNER_ROOT).read_bytes() == root.read_bytes()
    roots[1].unlink()
    assert_refused(take(stick), 22, "root 2 is missing")


def test_what_has_expired_is_refused_and_the_clock_is_shown(releases, publisher, take):
    publisher.now -= timedelta(days=4000)
    stick = releases.stick("old")

    assert_refused(take(stick), 25, "ticket t1 held until")
    assert "which nothing here can confirm" in take(stick).said
    assert "next: if the clock is wrong: date -u -s" in take(stick).said


def test_a_clock_before_the_ticket_is_wrong_and_the_box_says_so(releases, publisher, take):
    publisher.now += timedelta(days=100)
    taken = take(releases.stick("new"))

    assert taken.status == 0, taken.said
    assert "warning: the clock of this box says" in taken.said
    assert "an old stick would not be noticed" in taken.said


def test_software_for_another_machine_or_none_at_all_is_refused_with_what_is_there(releases, publisher, take):
    assert_refused(take(releases.stick("other", machine="riscv64")), 32, "it brings: software/appliance/0.2.0-py")
    assert_refused(take(publisher.stick(1)), 32, "it brings: models or settings only")


def test_of_two_variants_a_person_says_which(releases, publisher, take):
    targets = tuple(releases.sign(f"tree-{variant}", variant=variant) for variant in ("cpu", "gpu"))
    stick = publisher.cut("both", CutRequest(Devices(all=True), items=targets))
    trust = ("--root-fingerprint", hashlib.sha256(publisher.root).hexdigest())

    assert_refused(take(stick), 32, "--variant gpu")
    taken = take(stick, *trust, "--variant", "gpu")
    assert taken.status == 0, taken.said
    assert read_software(taken.root / RESCUE).variant == "gpu"


def test_a_release_without_an_installation_is_refused(releases, take):
    assert_refused(take(releases.stick("bare", installation=False)), 32, "brings no installation")


def test_a_publishers_key_does_not_sign_software(releases, publisher, take):
    """Whoever has the keys of a models' publisher, of tickets, snapshot and timestamp still cannot bring software."""
    stick = releases.stick("good")
    signed: dict[str, Any] = {}
    change(stick, "software", lambda targets: signed.update(targets.targets), None)
    change(
        stick,
        "models-factory",
        lambda targets: targets.targets.update(signed),
        signers_of(publisher, "models-factory"),
    )
    change(stick, "software", lambda targets: targets.targets.clear(), signers_of(publisher, "software"))
    for role in ("models-factory", "software"):
        vouch_again(publisher, stick, role)

    assert_refused(take(stick), 20, "nobody who may has signed it")
