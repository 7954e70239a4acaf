"""Secrets at the signing station: typed at a terminal, new ones twice, a token's PIN nowhere else."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.scripts.terminal import Session, at_terminal, without_terminal
from tests.updates.boxes import PASSPHRASE, Publisher, write_model

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "appliance.cli.main", "publish")
WORDS = PASSPHRASE.decode() + "\n"


@pytest.fixture
def owner(tmp_path: Path) -> Publisher:
    publisher = Publisher(tmp_path / "owner")
    publisher.hold_ceremony()
    return publisher


def typed(owner: Publisher, *words: str | Path, answers: Sequence[tuple[str, str]] = ()) -> Session:
    line = [*PROGRAM, *words, "--station", owner.directory / "station"]
    return at_terminal(line, os.environ, answers, cwd=ROOT)


@pytest.mark.slow
def test_a_passphrase_is_asked_for_by_the_name_of_its_file_and_not_shown(owner: Publisher) -> None:
    session = typed(owner, "renew", "tickets", answers=[("Passphrase of tickets-1-", WORDS)])

    assert session.status == 0, session.text
    assert PASSPHRASE.decode() not in session.text


@pytest.mark.slow
def test_one_answer_does_for_several_files(owner: Publisher) -> None:
    session = typed(
        owner,
        "renew",
        "software",
        answers=[("Passphrase of software-1-", WORDS), ("Passphrase of software-2-", "\n")],
    )

    assert session.status == 0, session.text
    assert "(Enter: the same as before)" in session.text


@pytest.mark.slow
def test_a_new_passphrase_is_typed_twice(owner: Publisher) -> None:
    unlocking = [("Passphrase of targets-1-", WORDS), ("Passphrase of targets-2-", "\n")]
    new = [("Passphrase for the new models-rival-1-", "five words nobody will guess\n")]
    differs = typed(owner, "delegate", "--publisher", "rival", answers=[*new, ("Once more", "five words\n")])
    same = typed(
        owner,
        "delegate",
        "--publisher",
        "rival",
        answers=[*new, ("Once more", "five words nobody will guess\n"), *unlocking_with_words(unlocking)],
    )

    assert differs.status == 2
    assert "the two passphrases differ" in differs.text
    assert same.status == 0, same.text


def unlocking_with_words(answers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The answer before was another one, so each passphrase is typed."""
    return [(question, WORDS) for question, _ in answers]


@pytest.mark.slow
def test_a_bar_does_not_run_through_a_question(owner: Publisher, tmp_path: Path) -> None:
    package = write_model(tmp_path, 1, weights=bytes(3_000_000))
    session = typed(
        owner,
        "model",
        "add",
        package,
        "--publisher",
        "factory",
        answers=[("Passphrase of models-factory-1-", WORDS)],
    )

    assert session.status == 0, session.text
    assert "\x1b" not in session.text.partition("Passphrase of")[0]


def test_a_pin_is_never_taken_from_the_passphrase_file(owner: Publisher, tmp_path: Path) -> None:
    """Tokens lock themselves after a few wrong ones."""
    from appliance.cli.exit_codes import WrongUsage  # noqa: PLC0415
    from appliance.cli.publish_options import _Secrets  # noqa: PLC0415

    (tmp_path / "passphrase").write_bytes(PASSPHRASE)
    secrets = _Secrets(tmp_path / "passphrase")

    assert secrets.of_file("root-1-0123456789abcdef.key") == PASSPHRASE
    with pytest.raises(WrongUsage, match="the PIN of the token owner cannot be asked for"):
        secrets.of_token("the token owner")


@pytest.mark.parametrize(
    "words",
    [
        ("--all-devices", "--requires-software", "soon"),
        ("--device", "no serial at all"),
        ("--all-devices", "--device", "A1"),
    ],
)
def test_what_no_ticket_can_say_is_wrong_usage(owner: Publisher, tmp_path: Path, words: Sequence[str]) -> None:
    line = [*PROGRAM, "cut", "--to", tmp_path, *words, "--station", owner.directory / "station"]
    session = without_terminal(line, os.environ, cwd=ROOT)

    assert session.status == 2, session.text
    assert "Traceback" not in session.text
