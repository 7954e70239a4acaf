"""scripts/update.sh: asks before anything changes, hands through how it ended, leaves nothing behind."""

import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.bundle.refusal import Refusal
from tests.scripts.answering_program import AnsweringProgram
from tests.scripts.terminal import CONTROL_C, CONTROL_D, SCRIPTS, Session, at_terminal, without_terminal

REFUSALS = [refusal.value for refusal in Refusal if refusal is not Refusal.NOTHING_TO_DO]
INSTALL = ("Install it now? [y/N]", "y")


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    """A folder with a name that is no gift to a shell."""
    place = tmp_path / "the stick; $HOME 'of' \"ours\""
    place.mkdir()
    return place


def update(program: AnsweringProgram, *words: str | Path, answers: list[tuple[str, str]] | None = None) -> Session:
    return at_terminal(["dash", SCRIPTS / "update.sh", *words], program.environment, answers or [])


def test_yes_installs_and_prints_a_receipt(program: AnsweringProgram, stick: Path) -> None:
    program.answer("inspect", 0, "ticket t1 can be installed on this box\n")
    program.answer("apply", 0, "ticket t1 is installed and serves\naudit     9884f3a7\n")
    program.answer("status", 0, "serial     A1\nhardware   pc\nsite       hall-1\n")

    session = update(program, "--directory", stick, answers=[INSTALL])

    assert session.status == 0
    assert program.asked == [f"update inspect {stick}", f"update apply {stick}", "update status"]
    receipt = session.text[session.text.index(" receipt ") :]
    assert "box        A1, pc, hall-1" in receipt
    assert "audit     9884f3a7" in receipt
    assert "result     done" in receipt


@pytest.mark.parametrize("answer", ["n", "", CONTROL_D, "what?\nno"])
def test_anything_but_yes_changes_nothing(program: AnsweringProgram, stick: Path, answer: str) -> None:
    session = update(program, "--directory", stick, answers=[("[y/N]", answer)])

    assert session.status == 0
    assert program.asked == [f"update inspect {stick}"]
    assert "Nothing was changed on this box." in session.text


@pytest.mark.parametrize("status", [1, 2, 3, *REFUSALS])
def test_a_stick_that_is_refused_is_not_applied(program: AnsweringProgram, stick: Path, status: int) -> None:
    program.answer("inspect", status)

    session = update(program, "--directory", stick)

    assert session.status == status
    assert program.asked == [f"update inspect {stick}"]
    assert "Nothing was changed on this box." in session.text


@pytest.mark.parametrize("status", [1, 2, 3, 10, *REFUSALS])
def test_how_an_update_ended_is_handed_through(program: AnsweringProgram, stick: Path, status: int) -> None:
    program.answer("apply", status)

    session = update(program, "--directory", stick, answers=[INSTALL])

    assert session.status == status
    assert f"not installed, status {status}: what served before goes on serving" in session.text


def test_what_is_installed_already_may_be_repaired(program: AnsweringProgram, stick: Path) -> None:
    program.answer("inspect", 10)

    refused = update(program, "--directory", stick, answers=[("repair it from the stick? [y/N]", "n")])
    repaired = update(program, "--directory", stick, answers=[("repair it from the stick? [y/N]", "y")])

    assert (refused.status, repaired.status) == (10, 0)
    assert program.asked[-2] == f"update apply {stick}"


def test_retry_goes_on_after_a_refusal_for_what_came_before(program: AnsweringProgram, stick: Path) -> None:
    program.answer("inspect", 32)

    session = update(program, "--directory", stick, "--retry", answers=[("Try it once more? [y/N]", "y")])

    assert session.status == 0
    assert program.asked[1] == f"update retry {stick}"


@pytest.mark.parametrize("status", [24, 25])
def test_an_expired_stick_is_installed_only_on_request(program: AnsweringProgram, stick: Path, status: int) -> None:
    program.answer("inspect", status)

    refused = update(program, "--directory", stick)
    allowed = update(
        program, "--directory", stick, "--allow-expired", answers=[("although its time is over? [y/N]", "y")]
    )

    assert (refused.status, allowed.status) == (status, 0)
    assert program.asked[2] == f"update apply {stick} --allow-expired"


def test_a_bundle_can_be_named(program: AnsweringProgram, stick: Path) -> None:
    update(program, "--directory", stick, "--bundle", "second one", "--yes")

    assert program.asked[:2] == [
        f"update inspect {stick} --bundle second one",
        f"update apply {stick} --bundle second one",
    ]


def test_nobody_to_ask_is_no_permission(program: AnsweringProgram, stick: Path) -> None:
    alone = without_terminal(["dash", SCRIPTS / "update.sh", "--directory", stick], program.environment)
    asked = program.asked
    sure = without_terminal(["dash", SCRIPTS / "update.sh", "--directory", stick, "--yes"], program.environment)

    assert (alone.status, asked) == (2, [f"update inspect {stick}"])
    assert "Nobody can be asked" in alone.text
    assert sure.status == 0
    assert f"update apply {stick}" in program.asked


def test_an_interrupt_ends_it_and_leaves_nothing_behind(program: AnsweringProgram, stick: Path) -> None:
    program.answer("apply", wait=True)
    before = set(program.folder.iterdir())

    session = update(program, "--directory", stick, answers=[INSTALL, ("working on it", CONTROL_C)])

    assert session.status == 130
    assert set(program.folder.iterdir()) - before == {program.folder / "log"}


@pytest.mark.parametrize(
    "words", [("--nonsense",), ("--device",), ("--label",), ("--directory",), ("stick",), ("--bundle",)]
)
def test_wrong_usage_says_how(program: AnsweringProgram, words: tuple[str, ...]) -> None:
    session = update(program, *words)

    assert session.status == 2
    assert "Next: " in session.text
    assert program.asked == []


def test_a_stick_that_is_not_there_is_looked_for_and_missed(program: AnsweringProgram) -> None:
    session = update(program, "--label", "NOSUCHSTICK")

    assert session.status == 28
    assert "No stick with the label NOSUCHSTICK is plugged in." in session.text
    assert "lsblk -f" in session.text
    assert program.asked == []


def test_who_may_not_look_for_sticks_is_not_told_that_there_is_none(program: AnsweringProgram) -> None:
    ordinary = ["unshare", "--user", "--map-user=1000", "--"]
    if subprocess.run([*ordinary, "true"], check=False).returncode:
        pytest.skip("user namespaces are not permitted here")
    command = [*ordinary, "dash", SCRIPTS / "update.sh", "--label", "NOSUCHSTICK"]

    session = at_terminal(command, program.environment)

    assert session.status == 1
    assert "Next: sudo " in session.text


def test_what_is_no_disk_is_not_mounted(program: AnsweringProgram, tmp_path: Path) -> None:
    session = update(program, "--device", tmp_path / "nothing")

    assert session.status == 35
    assert program.asked == []


def test_a_box_without_the_program_is_told_so(program: AnsweringProgram, tmp_path: Path) -> None:
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("*[!h]", "__pycache__"))
    (program.folder / "appliance").unlink()

    session = at_terminal(
        ["dash", tmp_path / "scripts" / "update.sh"], program.environment | {"PATH": "/usr/bin:/bin"}
    )

    assert session.status == 1
    assert "not installed here" in session.text
