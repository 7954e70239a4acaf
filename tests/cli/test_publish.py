"""What an owner types at the signing station, beyond what the whole story (tests/updates/story.py) types."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.terminal import Result, appliance
from tests.slots.trees import make_tree
from tests.updates.boxes import PASSPHRASE, Publisher, write_model

Type = Callable[..., Result]


@pytest.fixture
def owner(tmp_path: Path) -> Publisher:
    publisher = Publisher(tmp_path / "owner")
    publisher.hold_ceremony()
    (tmp_path / "passphrase").write_bytes(PASSPHRASE + b"\n")
    return publisher


@pytest.fixture
def station(owner: Publisher, tmp_path: Path) -> Type:
    def type_(*words: str | Path, code: int = 0, key: bool = True) -> Result:
        unlocking = ["--passphrase-file", tmp_path / "passphrase"] if key else []
        result = appliance("publish", *words, "--station", owner.directory / "station", *unlocking)
        assert result.code == code, result.out + result.err
        return result

    return type_


def shown(station: Type) -> dict[str, Any]:
    found: dict[str, Any] = station("show", "--json", key=False).json
    return found


def test_settings_and_models_are_signed_and_shown(owner: Publisher, station: Type, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('[log]\nlevel = "WARNING"\n')
    package = write_model(tmp_path, 1)

    assert station("config", "add", settings, "--site", "hall-1", "--json").json == ["config/hall-1/main.toml"]
    assert station("model", "add", package, "--publisher", "factory", "--json").json == [
        "models/factory/keeps/1.json"
    ]
    assert set(shown(station)["items"]) == {"config/hall-1/main.toml", "models/factory/keeps/1.json"}
    assert "MUST SIGN" in station("show", key=False).out


def test_the_fingerprint_of_the_root_is_shown_as_a_box_will_show_it(owner: Publisher, station: Type) -> None:
    fingerprint = hashlib.sha256(owner.root).hexdigest()

    assert shown(station)["root_sha256"] == fingerprint
    assert fingerprint in station("show", key=False).out.replace("\n", "")


def test_an_older_release_is_signed_only_with_force(station: Type, tmp_path: Path) -> None:
    for version in ("0.2.0", "0.1.0"):
        make_tree(tmp_path / version, version)
    station("software", "add", tmp_path / "0.2.0")
    refused = station("software", "add", tmp_path / "0.1.0", code=1)
    forced = station("software", "add", tmp_path / "0.1.0", "--force", "--json")

    assert "0.1.0 is older than 0.2.0" in refused.story
    assert "--force" in refused.story
    assert forced.json == ["software/appliance/0.1.0-py3.11-x86_64-cpu.json"]


def test_settings_that_no_box_would_take_are_refused(station: Type, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    for text, reason in (
        ("[log]\nlevel = 3\n", "log.level"),
        ('models_directory = "/tmp"\n', "not for a site"),
        ("[", "not valid TOML"),
    ):
        settings.write_text(text)
        assert reason in station("config", "add", settings, "--site", "hall-1", code=1).story


@pytest.mark.slow
def test_keys_come_and_go(station: Type) -> None:
    before = shown(station)["roles"]["root"]["keys"]
    added = station("key", "add", "root", "--json").json["added"]
    station("key", "revoke", "root", before[0][:12])
    rotated = station("key", "rotate", "tickets", shown(station)["roles"]["tickets"]["keys"][0], "--json").json

    assert shown(station)["roles"]["root"]["keys"] == [*before[1:], added]
    assert rotated["signed_again"] == ["tickets"]
    assert (
        "none can be spared"
        in station("key", "revoke", "snapshot", shown(station)["roles"]["snapshot"]["keys"][0], code=1).story
    )


@pytest.mark.slow
def test_a_role_is_renewed(station: Type) -> None:
    renewed = station("renew", "software", "--json").json
    assert (renewed["role"], renewed["version"]) == ("software", 2)
    assert renewed["expires"] == shown(station)["roles"]["software"]["expires"]


def test_for_which_boxes_has_to_be_said(station: Type, tmp_path: Path) -> None:
    assert "for which boxes" in station("cut", "--to", tmp_path, code=2).story
    assert "2026-12-31" in station("cut", "--to", tmp_path, "--all-devices", "--install-by", "soon", code=2).story


def test_a_passphrase_is_asked_for_only_at_a_terminal(station: Type) -> None:
    assert "--passphrase-file" in station("renew", "software", key=False, code=2).story


@pytest.mark.slow
def test_a_bundle_is_cut_checked_and_made_thin(owner: Publisher, station: Type, tmp_path: Path) -> None:
    station("model", "add", write_model(tmp_path, 1), "--publisher", "factory")
    for name in ("stick", "thin"):
        (tmp_path / name).mkdir()
    cut = station(
        "cut", "--to", tmp_path / "stick", "--group", "pilot", "--notes", "to be tried first", "--json"
    ).json
    checked = station("verify", tmp_path / "stick", "--json", key=False).json
    assert (cut["seq"], checked["ticket"], checked["models"]) == (1, "t1", ["keeps 1"])
    assert "is there already" in station("cut", "--to", tmp_path / "stick", "--all-devices", code=1).story

    weights = next((tmp_path / "stick").rglob("*.1.json"))
    files = sorted(layer["digest"].removeprefix("sha256:") for layer in json.loads(weights.read_bytes())["layers"])
    inventory = tmp_path / "inventory.json"
    inventory.write_bytes(json.dumps({"files": files, "schema": 1, "serial": "A1"}, separators=(",", ":")).encode())
    station("thin", tmp_path / "stick", "--inventory", inventory, "--to", tmp_path / "thin", key=False)
    assert station("verify", tmp_path / "thin", "--json", key=False).json["left_out"] == len(set(files))


def test_a_receipt_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text("{}")

    result = appliance("publish", "receipt", "read", tmp_path / "receipt.json", "--key", "0" * 64)
    assert result.code == 1
    assert "the signed receipt" in result.story
