"""scripts/rollback.sh and status.sh, and what holds for all scripts of technicians."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.bundle.refusal import Refusal
from appliance.cli.exit_codes import ExitCode
from tests.scripts.answering_program import AnsweringProgram
from tests.scripts.terminal import SCRIPTS, Session, at_terminal, without_terminal

BY_HAND = sorted(SCRIPTS.glob("*.sh"))
COMMANDS = [script for script in BY_HAND if os.access(script, os.X_OK)]


def run(
    program: AnsweringProgram, script: str, *words: str | Path, answers: list[tuple[str, str]] | None = None
) -> Session:
    return at_terminal(["dash", SCRIPTS / script, *words], program.environment, answers or [])


def test_a_rollback_shows_what_there_is_and_asks(program: AnsweringProgram) -> None:
    program.answer("status", 0, "1 t1 CONFIRMED\n")

    refused = run(program, "rollback.sh", answers=[("back? [y/N]", "n")])
    done = run(program, "rollback.sh", answers=[("back? [y/N]", "y")])

    assert (refused.status, done.status) == (0, 0)
    assert "t1 CONFIRMED" in refused.text
    assert program.asked == ["update status", "update status", "update rollback"]


@pytest.mark.parametrize("status", [1, 10, 31, 34])
def test_how_a_rollback_ended_is_handed_through(program: AnsweringProgram, status: int) -> None:
    program.answer("rollback", status)

    session = run(program, "rollback.sh", "--yes")

    assert session.status == status
    assert f"not taken back, status {status}" in session.text


def test_a_rollback_is_not_done_where_nobody_can_be_asked(program: AnsweringProgram) -> None:
    session = without_terminal(["dash", SCRIPTS / "rollback.sh"], program.environment)

    assert session.status == 2
    assert "update rollback" not in program.asked


def test_a_box_that_is_well_says_so(program: AnsweringProgram) -> None:
    session = run(program, "status.sh")

    assert session.status == 0
    assert session.text.endswith("All is well.\n")
    assert program.asked == ["status", "update status", "audit verify"]


def test_the_first_thing_that_is_wrong_gives_the_status_and_the_rest_is_shown_all_the_same(
    program: AnsweringProgram,
) -> None:
    program.answer("", 3)  # `status` has no second word
    program.answer("verify", 1)

    session = run(program, "status.sh")

    assert session.status == 3
    assert "The service does not answer" in session.text
    assert "The audit log is not whole" in session.text
    assert program.asked == ["status", "update status", "audit verify"]


@pytest.mark.parametrize("script", COMMANDS, ids=lambda script: script.name)
def test_help_is_the_head_of_the_script_without_any_program(script: Path, tmp_path: Path) -> None:
    session = without_terminal(["dash", script, "--help"], {"PATH": "/usr/bin:/bin"}, cwd=tmp_path)

    assert session.status == 0
    assert f"scripts/{script.name}" in session.text
    assert "#" not in session.text
    assert "set -u" not in session.text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    found = subprocess.run(
        ["shellcheck", "-x", "-o", "all", "-e", "SC2250,SC2292,SC2310,SC2311,SC2312", *BY_HAND],
        cwd=SCRIPTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.stdout == ""


def test_what_the_scripts_say_is_plain_ascii_for_a_serial_console() -> None:
    for script in BY_HAND:
        assert script.read_text().isascii(), script


def test_the_card_explains_every_exit_status() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \|", (SCRIPTS / "CARD.md").read_text(), re.MULTILINE)
    explained = {int(number) for row in rows for number in row.split(",")}

    assert explained == {refusal.value for refusal in Refusal} | {code.value for code in ExitCode}
