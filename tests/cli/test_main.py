"""The command line as a whole: help, version, usage, and how quickly it says so."""

import json
import subprocess
import sys

import pytest

import appliance as product
from tests.cli.terminal import ROOT, WIDTH, appliance, clean_environment

COMMANDS = (
    *([name] for name in ("serve", "status", "metrics", "infer", "selftest", "doctor", "models", "backends")),
    ["device"],
    ["wait-gpu"],
    ["logs"],
    ["support-bundle"],
    *(
        ["models", name]
        for name in ("add", "list", "show", "activate", "deactivate", "remove", "verify", "export", "gc")
    ),
    ["backends", "probe"],
    ["engines"],
    *([name] for name in ("provision", "audit", "update", "publish")),
    *(["audit", name] for name in ("verify", "show", "export")),
    *(
        ["update", name]
        for name in ("inspect", "apply", "retry", "rollback", "arrived", "status", "inventory", "receipts")
    ),
    *(["publish", name] for name in ("init", "delegate", "show", "cut", "verify", "renew", "thin")),
    *(
        ["publish", *words.split()]
        for words in ("model add", "config add", "software add", "key add", "key rotate", "key revoke")
    ),
    ["publish", "receipt", "read"],
    *(["backup", name] for name in ("create", "verify", "key")),
    *([name] for name in ("restore", "factory-reset", "wipe", "check-erasure")),
    *(["engines", name] for name in ("list", "build", "cancel", "show", "prune", "export-timing-cache")),
)
HEAVY = ("grpc", "numpy", "onnxruntime", "PIL", "google.protobuf", "tuf", "securesystemslib", "cryptography")
LOADED_BY_HELP = """
import json, sys
from appliance.cli.main import app
try:
    app(["--help"])
except SystemExit:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""

each_command = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)


def test_version_is_that_of_the_package() -> None:
    assert appliance("--version").out == f"appliance {product.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED_BY_HELP], cwd=ROOT, capture_output=True, text=True, check=True
    ).stderr

    assert [name for name in HEAVY if name in json.loads(loaded)] == []


@each_command
def test_every_command_explains_itself_within_eighty_columns(command: list[str]) -> None:
    result = appliance(*command, "--help")

    assert result.code == 0
    assert "Usage: " in result.out
    assert result.widest <= WIDTH


@pytest.mark.slow
@each_command
def test_an_option_that_does_not_exist_is_wrong_usage(command: list[str]) -> None:
    result = appliance(*command, "--nonesuch")

    assert result.code == 2
    assert result.out == ""


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    assert appliance("nonesuch").code == 2


@pytest.mark.parametrize("command", [["status"], ["models", "list"], ["infer", "digits"]], ids=" ".join)
def test_settings_that_are_not_valid_are_wrong_usage(command: list[str], tmp_path) -> None:
    settings = tmp_path / "appliance.toml"
    settings.write_text("[server]\nlisten = 17\n")

    result = appliance(*command, "--config", settings)

    assert result.code == 2
    assert "server.listen" in result.story
    assert "next: " in result.err


def test_a_settings_file_that_is_not_there_is_wrong_usage(tmp_path) -> None:
    result = appliance("status", "--config", tmp_path / "none.toml")

    assert result.code == 2
    assert "does not exist" in result.story


def test_colours_are_not_forced_upon_a_pipe() -> None:
    result = appliance("models", "list", "--state", "/nonexistent", environment={"FORCE_COLOR": "1"})

    assert result.code == 0  # Terminal refuses escape sequences in any result


def test_a_reader_that_leaves_early_causes_no_traceback() -> None:
    result = subprocess.run(
        f"{sys.executable} -m appliance.cli.main --help | true",
        shell=True,
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Traceback" not in result.stderr
