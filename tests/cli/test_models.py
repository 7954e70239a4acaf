"""`appliance models`, with and without a daemon."""

import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import write_package
from tests.cli.terminal import MODELS, WIDTH, Terminal

REFERENCE = """
backend = "reference"
max_batch_size = 4
licence = "MIT"
input = [{ name = "x", data_type = "TYPE_FP32", dims = [2] }]
output = [{ name = "y", data_type = "TYPE_FP32", dims = [2] }]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "same", REFERENCE)


def test_a_package_is_tried_stored_and_listed(terminal: Terminal) -> None:
    added = terminal.appliance("models", "add", MODELS / "digits", MODELS / "breast-cancer")
    listed = terminal.appliance("models", "list")

    assert "trying version 1" in added.story
    assert "appliance models activate digits 1" in added.story
    assert re.search(r"^digits +1 .*Apache-2.0$", listed.out, re.MULTILINE)
    assert max(added.widest, listed.widest) <= WIDTH


def test_adding_the_same_package_again_is_no_error(terminal: Terminal, package: Path) -> None:
    first = terminal.appliance("models", "add", package, "--json").json
    second = terminal.appliance("models", "add", package, "--json").json

    assert [first[0]["added"], second[0]["added"]] == [True, False]
    assert first[0]["digest"] == second[0]["digest"]


def test_what_was_added_before_an_error_is_reported(terminal: Terminal, package: Path, tmp_path: Path) -> None:
    result = terminal.appliance("models", "add", package, tmp_path / "nonesuch", "--json", code=1)

    assert [version["name"] for version in result.json] == ["same"]
    assert "is not a directory" in result.story


def test_a_model_that_does_not_load_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    result = terminal.appliance("models", "add", write_package(tmp_path / "bad", ""), code=1)

    assert "model.onnx" in result.story
    assert terminal.appliance("models", "list", "--json").json == []


def test_a_configuration_that_contradicts_the_file_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    package = shutil.copytree(MODELS / "digits", tmp_path / "digits")
    (package / "model.toml").write_text('[[output]]\nname = "nonesuch"\n')

    result = terminal.appliance("models", "add", package, code=1)

    assert "names output 'nonesuch'" in result.story


@pytest.mark.slow
def test_everything_about_a_model_is_shown(terminal: Terminal) -> None:
    terminal.appliance("models", "add", MODELS / "digits")
    terminal.appliance("models", "activate", "digits", "1")

    shown = terminal.appliance("models", "show", "digits")
    document = terminal.appliance("models", "show", "digits", "--json").json

    assert "pixel_values FP32 [-1, 1, 32, 32]" in shown.out
    assert document["versions"][0]["digest"] in shown.out
    assert shown.widest <= WIDTH
    assert document["aliases"] == {"serving": 1}
    assert document["history"][0]["version"] == 1
    assert document["versions"][0]["provenance"]["onnx"]["1/model.onnx"]


@pytest.mark.slow
def test_without_a_daemon_a_change_takes_effect_when_it_starts(terminal: Terminal, package: Path) -> None:
    terminal.appliance("models", "add", package)

    result = terminal.appliance("models", "activate", "same", "1", "--json")
    with terminal.daemon():
        models = terminal.appliance("status", "--json").json["models"]

    assert "takes effect when the daemon starts" in result.story
    assert result.json == {"daemon": False, "models": []}
    assert [(model["name"], model["state"], model["aliases"]) for model in models] == [("same", "READY", ["serving"])]


@pytest.mark.slow
def test_a_running_daemon_follows_each_change(terminal: Terminal, package: Path) -> None:
    terminal.appliance("models", "add", package)
    with terminal.daemon():
        activated = terminal.appliance("models", "activate", "same", "1", "--json").json
        refused = terminal.appliance("models", "remove", "same", "1", code=1)
        deactivated = terminal.appliance("models", "deactivate", "same", "--json").json
        removed = terminal.appliance("models", "remove", "same", "1", "--json").json

    assert [model["state"] for model in activated["models"]] == ["READY"]
    assert "alias serving points at it" in refused.story
    assert [model["reason"] for model in deactivated["models"]] == ["unloaded"]
    assert removed == {"daemon": True, "models": []}


@pytest.mark.slow
def test_a_version_that_does_not_become_ready_fails_with_the_reason(terminal: Terminal) -> None:
    terminal.appliance("models", "add", MODELS / "digits")
    (view,) = (terminal.state / "views").iterdir()
    damaged = view / "1" / "model.onnx"
    damaged.chmod(0o600)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    with terminal.daemon():
        result = terminal.appliance("models", "activate", "digits", "1", code=1)

    assert "'digits' version 1 is UNAVAILABLE" in result.story
    assert "damaged" in result.story
    assert "appliance models add DIR" in result.story


@pytest.mark.slow
def test_a_daemon_of_a_directory_is_not_asked_to_follow(terminal: Terminal, package: Path) -> None:
    terminal.appliance("models", "add", package)
    with terminal.daemon("--models", package.parent):
        result = terminal.appliance("models", "activate", "same", "1")

    assert "not this registry" in result.story


@pytest.mark.slow
def test_another_alias_is_served_beside_the_first(terminal: Terminal, package: Path) -> None:
    terminal.appliance("models", "add", package)
    terminal.appliance("models", "activate", "same", "1", "--alias", "candidate")
    unknown = terminal.appliance("models", "deactivate", "same", "--alias", "nonesuch", code=1)

    assert terminal.appliance("models", "show", "same", "--json").json["aliases"] == {"candidate": 1}
    assert "has no alias 'nonesuch'" in unknown.story


@pytest.mark.slow
def test_damage_is_found_and_named(terminal: Terminal, package: Path) -> None:
    terminal.appliance("models", "add", package)
    whole = terminal.appliance("models", "verify")
    for blob in (terminal.state / "blobs" / "sha256").iterdir():
        if blob.read_bytes() == b"reference":
            blob.chmod(0o600)
            blob.write_bytes(b"referenzx")
    damaged = terminal.appliance("models", "verify", "same", code=1)

    assert "as it was stored" in whole.out
    assert "1/model.onnx" in damaged.out
    assert "1 problem found" in damaged.story


@pytest.mark.slow
def test_an_exported_version_can_be_added_elsewhere(terminal: Terminal, package: Path, tmp_path: Path) -> None:
    added = terminal.appliance("models", "add", package, "--json").json
    (tmp_path / "out").mkdir()

    path = terminal.appliance("models", "export", "same", "1", "--to", tmp_path / "out", "--json").json["path"]
    again = terminal.appliance("models", "add", path, "--json").json

    assert path == str(tmp_path / "out" / "same")
    assert (again[0]["digest"], again[0]["added"]) == (added[0]["digest"], False)
    assert (
        "is there already"
        in terminal.appliance("models", "export", "same", "1", "--to", tmp_path / "out", code=1).story
    )


@pytest.mark.slow
def test_removed_versions_leave_no_files_after_collection(terminal: Terminal, package: Path) -> None:
    terminal.appliance("models", "add", package)
    terminal.appliance("models", "remove", "same", "1")

    report = terminal.appliance("models", "gc", "--json").json

    assert report["files"] > 0
    assert list((terminal.state / "blobs" / "sha256").iterdir()) == []
    assert "deleted 0 files" in terminal.appliance("models", "gc").out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "nonesuch"], "model 'nonesuch' is not in the registry"),
        (["activate", "same", "7"], "'same' version 7 is not in the registry"),
        (["activate", "same", "new"], "invalid model version"),
        (["activate", "same", "1", "--alias", "9"], "invalid alias"),
        (["remove", "same", "7"], "'same' version 7 is not in the registry"),
        (["deactivate", "nonesuch"], "model 'nonesuch' is not in the registry"),
        (["verify", "nonesuch"], "model 'nonesuch' is not in the registry"),
        (["export", "same", "1", "--to", "/nonexistent"], "/nonexistent is not a directory"),
    ],
)
def test_what_cannot_be_done_is_said(terminal: Terminal, package: Path, words: list[str], sentence: str) -> None:
    terminal.appliance("models", "add", package)

    result = terminal.appliance("models", *words, code=1)

    assert sentence in result.story
    assert "next: " in result.err
    assert result.widest <= WIDTH


def test_a_misspelt_state_directory_is_not_made(terminal: Terminal) -> None:
    elsewhere = Terminal(terminal.state / "misspelt")

    listed = elsewhere.appliance("models", "list")
    shown = elsewhere.appliance("models", "show", "same", code=1)

    assert "there are no models in" in listed.story
    assert "there is no registry in" in shown.story
    assert not elsewhere.state.exists()
