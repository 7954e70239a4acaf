"""`backup`, `restore`, `factory-reset`, `wipe` as a technician and a script type them."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import write_package
from tests.cli.terminal import PROGRAM, ROOT, Terminal, appliance, clean_environment
from tests.updates.first_roots import root_file

pytestmark = pytest.mark.slow
REFERENCE = (
    'backend = "reference"\nmax_batch_size = 8\ninput = [{ name = "x", data_type = "TYPE_FP32", dims = [2] }]\n'
)
REFERENCE += 'output = [{ name = "y", data_type = "TYPE_FP32", dims = [2] }]\n'


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    (tmp_path / "passphrase").write_text("four words in a row\n")
    return tmp_path / "passphrase"


@pytest.fixture
def box(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A box that serves a model of before it was sealed, and has its name."""
    terminal.appliance("models", "add", write_package(tmp_path / "twice", REFERENCE))
    terminal.appliance("models", "activate", "twice", "1")
    (tmp_path / "root.json").write_bytes(root_file())
    named = ("--serial", "BOX-7", "--hardware", "pc", "--site", "hall-1")
    terminal.appliance("provision", "--root", tmp_path / "root.json", *named)
    return terminal


def test_a_backup_is_taken_while_the_box_serves_checked_elsewhere_and_restored(
    box: Terminal, passphrase: Path, tmp_path: Path
) -> None:
    file, spare = tmp_path / "box.backup", Terminal(tmp_path / "spare")
    opening = ("--passphrase-file", passphrase)
    with box.daemon():
        assert box.appliance("backup", "create", file, "--dry-run").out
        written = box.appliance("backup", "create", file, *opening, "--json").json
    checked = appliance("backup", "verify", file, *opening, "--json")
    shown = appliance("backup", "verify", file, *opening)
    planned = spare.appliance("restore", file, *opening, "--dry-run", "--json").json
    done = spare.appliance("restore", file, *opening)

    assert (written["serial"], written["models"]) == ("BOX-7", ["twice 1"])
    assert (checked.code, checked.json["whole"]) == (0, True)
    assert "BOX-7 (pc, hall-1)" in shown.out
    assert max(shown.widest, done.widest) <= 80
    assert planned["restored"] is False
    assert "next: systemctl start appliance" in done.story
    assert [row["name"] for row in spare.appliance("models", "list", "--json").json] == ["twice"]
    with spare.daemon():
        assert spare.appliance("status", "--json").json


def test_a_script_says_which_box_it_means_and_nothing_happens_to_another(
    box: Terminal, passphrase: Path, tmp_path: Path
) -> None:
    file, opening = tmp_path / "box.backup", ("--passphrase-file", passphrase)
    box.appliance("backup", "create", file, *opening)

    for command in (
        ("restore", file, *opening, "--replace"),
        ("factory-reset",),
        ("wipe", "--certificate", tmp_path / "certificate.json"),
    ):
        unsaid = box.appliance(*command, code=2)
        wrong = box.appliance(*command, "--yes", "BOX-8", code=2)

        assert "next: say which box you mean: --yes BOX-7" in unsaid.story
        assert "'BOX-8' was given, this box is BOX-7; nothing was done" in wrong.story
    assert [row["name"] for row in box.appliance("models", "list", "--json").json] == ["twice"]


def test_a_daemon_that_runs_is_told_of_before_anything_happens(
    box: Terminal, passphrase: Path, tmp_path: Path
) -> None:
    file, opening = tmp_path / "box.backup", ("--passphrase-file", passphrase)
    box.appliance("backup", "create", file, *opening)
    with box.daemon():
        for command in (
            ("restore", file, *opening, "--replace"),
            ("factory-reset",),
            ("wipe", "--certificate", tmp_path / "certificate.json"),
        ):
            refused = box.appliance(*command, "--yes", "BOX-7", code=1)

            assert "next: stop it first: systemctl stop appliance" in refused.story


def test_a_reset_box_starts_with_its_name_and_no_models(box: Terminal) -> None:
    plan = box.appliance("factory-reset", "--dry-run", "--json").json
    done = box.appliance("factory-reset", "--yes", "BOX-7", "--json").json

    assert (plan["reset"], done["reset"]) == (False, True)
    assert done["files"] == plan["files"] > 3
    events = [entry["event"] for entry in box.appliance("audit", "show", "--json").json]
    assert events[-1] == "factory_reset"
    with box.daemon():
        assert box.appliance("status", "--json").json


def test_a_box_is_erased_and_its_certificate_checked_elsewhere(box: Terminal, tmp_path: Path) -> None:
    named = ("--root", tmp_path / "root.json", "--serial", "BOX-7", "--hardware", "pc", "--site", "hall-1")
    key = box.appliance("provision", *named, "--json").json["receipt_key"]
    certificate = tmp_path / "certificate.json"

    assert box.appliance("wipe", "--dry-run", "--json").json["erased"] is False
    assert "no place for the certificate was named" in box.appliance("wipe", "--yes", "BOX-7", code=2).story
    done = box.appliance("wipe", "--certificate", certificate, "--yes", "BOX-7")

    assert done.widest <= 80
    assert "BOX-7" in done.out
    assert [path.name for path in box.state.iterdir()] in ([], ["run"])
    checked = appliance("check-erasure", certificate, "--key", key, "--json")
    assert checked.json["certificate"]["serial"] == "BOX-7"
    assert appliance("check-erasure", certificate, "--key", "0" * 64).code == 1


def test_a_box_whose_erasure_was_cut_off_does_not_serve_and_is_not_started_again(box: Terminal) -> None:
    (box.state / "erasure.json").write_text("{}")
    refused = box.appliance("serve", "--listen", "127.0.0.1:0", code=65)

    assert "next: finish it: appliance wipe --certificate FILE" in refused.story


def test_a_pair_of_keys_lets_a_box_write_what_it_cannot_read(box: Terminal, passphrase: Path, tmp_path: Path) -> None:
    made = appliance("backup", "key", tmp_path / "safe.key", "--passphrase-file", passphrase, "--json")
    file = tmp_path / "box.backup"
    box.appliance("backup", "create", file, "--to", made.json["public_key"])

    assert appliance("backup", "verify", file, "--passphrase-file", passphrase).code == 1
    opened = appliance("backup", "verify", file, "--key", tmp_path / "safe.key", "--passphrase-file", passphrase)
    assert opened.code == 0


def test_a_short_passphrase_and_none_are_refused_with_what_to_do(box: Terminal, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("secret\n")

    short = box.appliance("backup", "create", tmp_path / "b", "--passphrase-file", tmp_path / "short", code=1)
    none = box.appliance("backup", "create", tmp_path / "b", code=2)

    assert "has 6 characters, at least 12 are needed" in short.story
    assert "--passphrase-file FILE" in none.story
    assert not (tmp_path / "b").exists()


def test_at_a_terminal_the_serial_is_typed(box: Terminal) -> None:
    answered = typed(box, "BOX-7\n", "factory-reset")

    assert "To go on, type BOX-7: " in answered
    assert box.appliance("audit", "show", "--json").json[-1]["event"] == "factory_reset"


def typed(box: Terminal, text: str, *words: str) -> str:
    """Run a command at a terminal, type, and return all that the terminal shows."""
    master, slave = pty.openpty()
    command = [*PROGRAM, *words, "--state", box.state]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environment() | {"TERM": "dumb"}, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        os.close(slave)
        os.write(master, text.encode())
        shown = b""
        while piece := _read(master):
            shown += piece
        assert process.wait(30) == 0, shown.decode()
    os.close(master)
    return shown.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # the other end is closed
        return b""
