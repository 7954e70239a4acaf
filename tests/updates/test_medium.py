"""A stick that is foreign, broken or hostile: a clean refusal, quickly, and nothing outside the bundle is touched."""

import os
import shutil
from pathlib import Path

import pytest

from appliance.bundle.layout import BUNDLE_DIRECTORY
from appliance.bundle.refusal import UpdateRefused
from appliance.publish.cutting import renew
from appliance.updates.medium import Medium, NotOnMedium
from tests.updates.boxes import Publisher, SealedBox
from tests.updates.forging import metadata_of, newest

OUTSIDE = ("../sticks/x", "metadata/../hint.json", "/etc/passwd", "", "metadata//timestamp.json", ".")
BOMBS = (
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b'{"signed": 1e999}',
    b"9" * 16_000,
    b"\xff\xfe{}",
    b"",
    b"null",
    b'{"signed":{}}',
    b'{"signed":{"_type":"\\ud800","version":1e999},"signatures":[]}',
    b"[" + b"{}," * 150_000 + b"{}]",
)


@pytest.fixture
def stick(publisher: Publisher) -> Path:
    return publisher.stick(1)


def opened(place: Path, bundle: str = "") -> str:
    with Medium.open(place, bundle) as medium:
        return medium.name


def refusal(place: Path, bundle: str = "") -> UpdateRefused:
    with pytest.raises(UpdateRefused) as caught, Medium.open(place, bundle):
        pass
    return caught.value


def test_the_mount_point_and_the_bundle_itself_name_the_bundle(stick: Path) -> None:
    assert opened(stick) == BUNDLE_DIRECTORY
    assert opened(stick / BUNDLE_DIRECTORY) == BUNDLE_DIRECTORY


def test_what_other_systems_leave_on_a_stick_is_no_bundle(stick: Path) -> None:
    for name in ("System Volume Information", ".Trash-1000", "._APPLIANCE-UPDATE", ".Spotlight-V100", "photos"):
        shutil.copytree(stick / BUNDLE_DIRECTORY / ("oci" if name == "photos" else "."), stick / name)

    assert opened(stick) == BUNDLE_DIRECTORY


def test_an_empty_stick_and_one_that_is_not_there_are_incomplete(tmp_path: Path) -> None:
    assert refusal(tmp_path).reason.name == "INCOMPLETE_MEDIUM"
    assert refusal(tmp_path / "nothing").reason.name == "INCOMPLETE_MEDIUM"


def test_two_bundles_have_to_be_told_apart(stick: Path) -> None:
    shutil.copytree(stick / BUNDLE_DIRECTORY, stick / "SECOND")

    refused = refusal(stick)
    assert refused.reason.name == "AMBIGUOUS_MEDIUM"
    assert refused.facts["bundles"] == [BUNDLE_DIRECTORY, "SECOND"]
    assert "--bundle" in refused.hint
    assert opened(stick, "SECOND") == "SECOND"


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\x1b[2J", b"two\nlines", "\u202egnp".encode()])
def test_a_name_that_cannot_be_printed_is_no_bundle(publisher: Publisher, box: SealedBox, name: bytes) -> None:
    stick = publisher.stick(1)
    for number in (b"1", b"2"):
        shutil.copytree(stick / BUNDLE_DIRECTORY, os.fsdecode(os.fsencode(stick) + b"/" + name + number))

    assert box.apply(stick).code == 0


def test_a_directory_that_leads_round_in_a_ring_does_not_hide_the_bundle(stick: Path) -> None:
    (stick / "ring" / "metadata").mkdir(parents=True)
    (stick / "ring" / "metadata" / "timestamp.json").symlink_to("timestamp.json")

    assert opened(stick) == BUNDLE_DIRECTORY


@pytest.mark.parametrize("what", ["timestamp.json", "1.root.json", "link to all"])
def test_metadata_behind_a_link_is_not_read(publisher: Publisher, box: SealedBox, stick: Path, what: str) -> None:
    with publisher.opened() as station:
        renew(station, "root")
    good = publisher.stick(2)
    evil = Path(shutil.copytree(good, good.with_name("evil")))
    moved = metadata_of(evil) if what == "link to all" else metadata_of(evil) / what.replace("1.root", "2.root")
    moved.rename(evil / "elsewhere")
    moved.symlink_to(evil / "elsewhere")

    assert box.apply(evil).result in ("MEDIUM_IO", "INCOMPLETE_MEDIUM", "ROOT_CHAIN_GAP")
    assert box.desired() is None
    assert box.apply(good).code == 0


def test_a_link_leads_nowhere(stick: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (stick / BUNDLE_DIRECTORY / "metadata" / "link.json").symlink_to(secret)
    (stick / BUNDLE_DIRECTORY / "elsewhere").symlink_to(tmp_path)

    with Medium.open(stick) as medium:
        for path in ("metadata/link.json", "elsewhere/secret"):
            with pytest.raises((UpdateRefused, NotOnMedium)):
                medium.read(path, 100)


@pytest.mark.parametrize(
    "path", ["../sticks/x", "metadata/../hint.json", "/etc/passwd", "", "metadata//timestamp.json", "."]
)
def test_a_path_cannot_leave_the_bundle(stick: Path, path: str) -> None:
    with Medium.open(stick) as medium, pytest.raises(NotOnMedium):
        medium.read(path, 100)


def test_opening_a_fifo_does_not_wait(publisher: Publisher, box: SealedBox, stick: Path) -> None:
    timestamp = stick / BUNDLE_DIRECTORY / "metadata" / "timestamp.json"
    data = timestamp.read_bytes()
    timestamp.unlink()
    os.mkfifo(timestamp)

    assert box.apply(stick).code in (28, 35)
    timestamp.unlink()
    timestamp.write_bytes(data)
    os.mkfifo(stick / BUNDLE_DIRECTORY / "metadata" / "fifo")
    assert box.apply(stick).code == 0


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "root"])
def test_a_bomb_instead_of_metadata_is_refused(
    publisher: Publisher, box: SealedBox, stick: Path, role: str, bomb: bytes
) -> None:
    path = newest(stick, role) if role != "root" else metadata_of(stick) / "2.root.json"
    path.write_bytes(bomb)

    assert box.apply(stick).code in (20, 21, 22, 29)
    assert box.desired() is None


def test_long_names_and_twins_of_names_are_ignored(publisher: Publisher, box: SealedBox, stick: Path) -> None:
    metadata = stick / BUNDLE_DIRECTORY / "metadata"
    (metadata / ("x" * 251 + ".bin")).write_bytes(b"x")
    (metadata / "TIMESTAMP.JSON").write_bytes(b"{}")
    (metadata / "1.ROOT.JSON").write_bytes(b"{}")
    (metadata / "000002.root.json").write_bytes(b"{}")

    assert box.apply(stick).code == 0


def test_a_directory_with_very_many_files_is_refused(publisher: Publisher, box: SealedBox, stick: Path) -> None:
    metadata = stick / BUNDLE_DIRECTORY / "metadata"
    for number in range(10_001):
        (metadata / f"{number}").touch()

    assert box.apply(stick).result == "MEDIUM_IO"


@pytest.mark.root
def test_a_device_node_is_never_read(publisher: Publisher, box: SealedBox, stick: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make device nodes")
    timestamp = stick / BUNDLE_DIRECTORY / "metadata" / "timestamp.json"
    timestamp.unlink()
    os.mknod(timestamp, 0o20666, os.makedev(1, 5))  # /dev/zero

    assert box.apply(stick).code in (28, 35)


@pytest.mark.parametrize("path", ["metadata/\0", "targets/\ud800", "\udcff/x"])
def test_a_name_that_no_system_takes_is_not_there(stick: Path, path: str) -> None:
    with Medium.open(stick) as medium, pytest.raises(NotOnMedium):
        medium.read(path, 100)
