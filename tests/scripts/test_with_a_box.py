"""The scripts with the real appliance: a sealed box, real bundles, sticks that are really mounted."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from tests.scripts.terminal import SCRIPTS, Session, at_terminal, without_terminal
from tests.support.daemon import TRANSPORT_SETTING
from tests.updates.boxes import KEEPS, ONE, TWO, Publisher, SealedBox, write_model

pytestmark = pytest.mark.slow
INSTALL = ("Install it now? [y/N]", "y")
STICK_BYTES = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def ceremony(tmp_path_factory: pytest.TempPathFactory) -> Path:
    publisher = Publisher(tmp_path_factory.mktemp("ceremony"))
    publisher.hold_ceremony()
    return publisher.directory


@pytest.fixture
def publisher(ceremony: Path, tmp_path: Path) -> Publisher:
    shutil.copytree(ceremony, tmp_path / "owner")
    return Publisher(tmp_path / "owner")


@pytest.fixture
def box(publisher: Publisher, tmp_path: Path) -> Iterator[SealedBox]:
    box = SealedBox(tmp_path / "state")
    box.seal(publisher.root)
    yield box
    box.close()


def environment(box: SealedBox) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APPLIANCE_")}
    return kept | {
        **TRANSPORT_SETTING,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "APPLIANCE_STATE_DIRECTORY": str(box.layout.root),
        "APPLIANCE_RUNTIME_DIRECTORY": str(box.runtime),
        "COLUMNS": "100",
    }


def update(box: SealedBox, *words: str | Path, answers: list[tuple[str, str]] | None = None) -> Session:
    return at_terminal(["dash", SCRIPTS / "update.sh", *words], environment(box), answers or [])


def test_a_stick_is_installed_and_taken_back_and_installed_again(publisher: Publisher, box: SealedBox) -> None:
    first, second = publisher.stick(1, answer=1.0), publisher.stick(2, answer=1.0)

    installed = [update(box, "--directory", stick, answers=[INSTALL]) for stick in (first, second)]
    assert [session.status for session in installed] == [0, 0], installed
    assert box.desired() == TWO
    assert re.search(rf"^audit +{box.audit().head().short}$", installed[1].text, re.MULTILINE)
    assert len(list((second / "RECEIPTS").iterdir())) == 1

    back = at_terminal(["dash", SCRIPTS / "rollback.sh"], environment(box), [("back? [y/N]", "y")])
    assert back.status == 0, back
    assert box.desired() == ONE
    assert update(box, "--directory", second).status == 32
    again = update(box, "--directory", second, "--retry", answers=[("Try it once more? [y/N]", "y")])
    assert again.status == 0, again
    assert box.desired() == TWO


def test_an_older_stick_and_one_for_another_box_are_refused_with_the_next_step(
    publisher: Publisher, box: SealedBox
) -> None:
    first, second = publisher.stick(1), publisher.stick(2)
    publisher.add(write_model(publisher.directory / "packages", 3))
    other = publisher.cut("other", CutRequest(Devices(serials=("B2",))))
    assert update(box, "--directory", second, "--yes").status == 0

    older, wrong = update(box, "--directory", first), update(box, "--directory", other)
    assert (older.status, wrong.status) == (23, 26)
    assert "next: " in older.text
    assert "next: " in wrong.text
    assert box.desired() == TWO


def test_a_folder_without_a_bundle_and_one_with_two_are_refused(
    publisher: Publisher, box: SealedBox, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    stick = publisher.stick(1)
    shutil.copytree(stick / "APPLIANCE-UPDATE", stick / "copy")

    assert update(box, "--directory", tmp_path / "empty").status == 28
    assert update(box, "--directory", stick).status == 36
    assert update(box, "--directory", stick, "--bundle", "copy", "--yes").status == 0


def test_the_status_of_a_box_whose_service_does_not_run(publisher: Publisher, box: SealedBox) -> None:
    assert update(box, "--directory", publisher.stick(1), "--yes").status == 0

    session = without_terminal(["dash", SCRIPTS / "status.sh"], environment(box))
    assert session.status == 3
    assert "CONFIRMED" in session.text
    assert "the audit log is whole" in session.text


def test_a_service_that_runs_installs_the_stick_itself(publisher: Publisher, box: SealedBox, tmp_path: Path) -> None:
    stick = publisher.stick(1, answer=1.0)

    with serving(box, tmp_path / "serve.log"):
        installed = update(box, "--directory", stick, answers=[INSTALL])
        status = without_terminal(["dash", SCRIPTS / "status.sh"], environment(box))

    assert installed.status == 0, installed
    assert "doing it here" not in installed.text
    assert status.status == 0, status
    assert KEEPS in status.text
    assert status.text.endswith("All is well.\n")


@contextmanager
def serving(box: SealedBox, log: Path) -> Iterator[None]:
    """Let the daemon run."""
    program = [sys.executable, "-m", "appliance.cli.main"]
    with log.open("wb") as stream:
        line = [*program, "serve", "--listen", f"unix:{box.runtime}/i.sock"]
        daemon = subprocess.Popen(line, env=environment(box), cwd=SCRIPTS.parent, stderr=stream)
    try:
        deadline_s = time.monotonic() + 60
        while b"READY" not in log.read_bytes():
            assert daemon.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        daemon.terminate()
        daemon.wait(60)


@contextmanager
def plugged_in(folder: Path, image: Path, file_system: str, label: str) -> Iterator[str]:
    """Make a stick of a folder and plug it in; yields its device. Skips where that is not possible."""
    for program in (f"mkfs.{file_system}", "losetup", "blkid", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with image.open("wb") as stream:
        stream.truncate(STICK_BYTES)
    name = ["-n", label] if file_system == "vfat" else ["-q", "-L", label]
    subprocess.run([f"mkfs.{file_system}", *name, image], check=True, capture_output=True)
    looped = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if looped.returncode:
        pytest.skip(f"loop devices are not permitted here: {looped.stderr.strip()}")
    device = looped.stdout.strip()
    try:
        copied = in_namespace(f'mount "{device}" "$1" && cp -rT "$2" "$1"', image.with_suffix(".mounted"), folder)
        if copied.returncode:
            pytest.skip(f"{file_system} cannot be mounted here: {copied.stderr.strip()}")
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def in_namespace(script: str, place: Path, *words: Path) -> "subprocess.CompletedProcess[str]":
    """Run a line of shell in a mount namespace of its own; `place` is made."""
    place.mkdir(exist_ok=True)
    command = ["unshare", "--mount", "--", "sh", "-c", script, "sh", place, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def script_and_what_it_left(label: str, device: str) -> str:
    """Write a line of shell that runs the script, then shows what it left mounted."""
    script = f'dash "{SCRIPTS}/update.sh" --label {label}'
    return f'{script}; status=$?; grep "^{device} " /proc/self/mounts; exit $status'


def files_on(device: str, image: Path) -> list[str]:
    listed = in_namespace(f'mount -o ro "{device}" "$1" && cd "$1" && find . -type f', image.with_suffix(".mounted"))
    return listed.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
@pytest.mark.parametrize("file_system", ["ext4", "vfat"])
@pytest.mark.parametrize("receipt", [True, False])
def test_a_stick_is_found_by_its_label_mounted_read_only_and_put_away(
    publisher: Publisher, box: SealedBox, tmp_path: Path, file_system: str, receipt: bool
) -> None:
    image = tmp_path / "stick.img"
    with plugged_in(publisher.stick(1), image, file_system, "APPLTEST") as device:
        line = script_and_what_it_left("APPLTEST", device)
        answers = [INSTALL, ("Write a signed receipt to the stick?", "y" if receipt else "n")]
        session = at_terminal(["unshare", "--mount", "--", "sh", "-c", line], environment(box), answers)
        receipts = [name for name in files_on(device, image) if "/RECEIPTS/" in name]

    assert session.status == 0, session
    assert f"The stick {device} is mounted read-only." in session.text
    assert session.text.endswith("The stick can be taken out.\n")
    assert len(receipts) == int(receipt)
    assert box.desired() == ONE


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_two_sticks_with_one_label_are_not_chosen_from(publisher: Publisher, box: SealedBox, tmp_path: Path) -> None:
    stick = publisher.stick(1)
    with (
        plugged_in(stick, tmp_path / "one.img", "ext4", "APPLTWO") as one,
        plugged_in(stick, tmp_path / "two.img", "ext4", "APPLTWO") as two,
    ):
        session = update(box, "--label", "APPLTWO")
        named = at_terminal(
            ["unshare", "--mount", "--", "dash", SCRIPTS / "update.sh", "--device", two, "--yes"], environment(box)
        )

    assert session.status == 36
    assert one in session.text
    assert two in session.text
    assert named.status == 0, named


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_stick_that_is_refused_and_one_that_is_interrupted_are_put_away_too(
    publisher: Publisher, box: SealedBox, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with plugged_in(tmp_path / "empty", tmp_path / "stick.img", "ext4", "APPLNONE") as device:
        line = script_and_what_it_left("APPLNONE", device)
        refused = at_terminal(["unshare", "--mount", "--", "sh", "-c", line], environment(box))
    with plugged_in(publisher.stick(1), tmp_path / "good.img", "ext4", "APPLGOOD") as device:
        script = SCRIPTS / "update.sh"
        command = ["unshare", "--mount", "--", "dash", script, "--label", "APPLGOOD"]
        interrupted = at_terminal(command, environment(box), [("Install it now? [y/N]", "\x03")])

    assert refused.status == 28
    assert interrupted.status == 130
    assert refused.text.endswith("The stick can be taken out.\n")
    assert interrupted.text.endswith("The stick can be taken out.\n")
    assert box.desired() is None
