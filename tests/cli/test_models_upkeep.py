"""`appliance models scrub | gc | rebuild`: keeping what is stored sound."""

import json
from pathlib import Path

import pytest

from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from appliance.updates.journal import Journal, OpenUpdate
from tests.cli.conftest import write_package
from tests.cli.terminal import WIDTH, Terminal

REFERENCE = """
backend = "reference"
max_batch_size = 4
input = [{ name = "x", data_type = "TYPE_FP32", dims = [2] }]
output = [{ name = "y", data_type = "TYPE_FP32", dims = [2] }]
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "same", REFERENCE)


@pytest.fixture
def stored(terminal: Terminal, package: Path) -> Terminal:
    terminal.appliance("models", "add", package)
    terminal.appliance("models", "activate", "same", "1")
    return terminal


def rot(terminal: Terminal) -> str:
    """Damage the model file; returns its digest."""
    files = terminal.appliance("models", "show", "same", "--json").json["versions"][0]["files"]
    digest: str = files["1/model.onnx"]["digest"]
    blob = terminal.state / "blobs" / "sha256" / digest.removeprefix("sha256:")
    blob.chmod(0o644)
    blob.write_text("rotten")
    return digest


def audited(terminal: Terminal) -> list[str]:
    lines = [line for file in sorted((terminal.state / "audit").iterdir()) for line in file.read_text().splitlines()]
    return [entry["event"] for entry in map(json.loads, lines) if "event" in entry]


@pytest.mark.slow
def test_a_scrub_says_that_all_is_sound_and_when_that_was(stored: Terminal) -> None:
    never = stored.appliance("models", "scrub", "--last")
    scrubbed = stored.appliance("models", "scrub")
    last = stored.appliance("models", "scrub", "--last", "--json").json

    assert "nothing was ever read back" in never.out
    assert "nothing is known to be damaged" in scrubbed.out
    assert (last["last"]["files"], last["damaged"]) == (3, [])


@pytest.mark.slow
def test_damage_is_found_told_audited_and_mended(stored: Terminal, package: Path) -> None:
    digest = rot(stored)

    found = stored.appliance("models", "scrub", code=1)
    known = stored.appliance("models", "scrub", "--last", "--json", code=1).json
    stored.appliance("models", "scrub", code=1)
    mended = stored.appliance("models", "add", package)

    assert "same version 1: 1/model.onnx" in " ".join(found.out.split())
    assert "appliance models add DIR, or on a sealed box: appliance update apply MEDIUM" in found.story
    assert found.widest <= WIDTH
    (damaged,) = known["damaged"]
    assert (damaged["digest"], damaged["state"], damaged["files"]) == (
        digest,
        "quarantined",
        ["same version 1: 1/model.onnx"],
    )
    assert audited(stored) == ["content_quarantined"]
    assert "already there" in mended.out
    stored.appliance("models", "scrub")


@pytest.mark.slow
def test_a_daemon_goes_on_serving_what_it_has_loaded(stored: Terminal) -> None:
    with stored.daemon():
        rot(stored)
        stored.appliance("models", "scrub", code=1)
        answer = stored.appliance("status", "--json").json["models"]
    with stored.daemon():
        after = stored.appliance("status", "--json").json["models"]

    assert answer[0]["state"] == "READY"
    assert after[0]["state"] == "UNAVAILABLE"
    assert "taken out of service" in after[0]["reason"]


@pytest.mark.slow
def test_a_lost_database_is_named_and_made_anew(stored: Terminal) -> None:
    for file in stored.state.glob("registry.db*"):
        file.unlink()

    listed = stored.appliance("models", "list")
    lost = stored.appliance("models", "show", "same", code=1)
    rebuilt = stored.appliance("models", "rebuild")
    shown = stored.appliance("models", "show", "same", "--json").json

    assert "registry.db was lost" in listed.story
    assert "only stored files" in lost.story
    assert "appliance models rebuild" in lost.story
    assert "not signed" in rebuilt.out
    assert "appliance models activate same 1" in rebuilt.story
    assert (shown["aliases"], [version["version"] for version in shown["versions"]]) == ({}, [1])
    assert audited(stored) == ["registry_rebuilt"]


@pytest.mark.slow
def test_a_damaged_database_is_kept_aside(stored: Terminal) -> None:
    (stored.state / "registry.db").write_bytes(b"no database " * 1000)

    result = stored.appliance("models", "rebuild", "--json").json

    assert [version["name"] for version in result["versions"]] == ["same"]
    assert Path(result["set_aside"]).read_bytes().startswith(b"no database")


@pytest.mark.slow
def test_a_rebuild_while_the_appliance_runs_is_refused(stored: Terminal) -> None:
    with stored.daemon():
        refused = stored.appliance("models", "rebuild", code=1)

    assert "systemctl stop appliance" in refused.story


@pytest.mark.slow
def test_garbage_collection_leaves_an_open_update_what_it_staged(stored: Terminal) -> None:
    layout = StateLayout(stored.state)
    with ModelRegistry.open(layout) as registry:
        wanted, unwanted = registry.blobs.put(b"staged"), registry.blobs.put(b"left over")
    Journal(layout.updates).write(
        OpenUpdate(stage="STAGE", ticket_id="t-1", ticket_digest=wanted, seq=1, keep=(wanted,))
    )

    report = stored.appliance("models", "gc", "--json").json

    assert report["files"] == 1
    assert registry.blobs.path(wanted).exists()
    assert not registry.blobs.path(unwanted).exists()
