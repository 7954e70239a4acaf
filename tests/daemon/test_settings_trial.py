"""Settings that a bundle brings: what would end the next start of the daemon is found before they stay."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.rpc.native_tests import environment_without_extension

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from appliance.daemon.settings_trial import settings_problem
from appliance.settings import load_settings
overrides = {"state_directory": sys.argv[1], "server": {"transport": sys.argv[2], "listen": []}}
print(settings_problem(lambda: load_settings(None, overrides, {}), ()))
"""


@pytest.mark.parametrize(("transport", "ends"), [("native", True), ("auto", True), ("grpcio", False)])
def test_an_extension_that_cannot_be_loaded_is_a_problem_where_it_is_taken(
    tmp_path: Path, transport: str, ends: bool
) -> None:
    python = environment_without_extension(tmp_path / "environment")
    (site,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    (site / "appliance_native.py").write_text("raise ImportError('libgrpc.so.99 is missing')\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", PROGRAM, tmp_path, transport]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert ("libgrpc.so.99 is missing" in done.stdout) == ends
    assert done.stdout.startswith("server.transport: the native transport cannot be loaded") == ends


@pytest.mark.parametrize(
    ("transport", "problem"),
    [("native", "server.transport: the native transport is not installed"), ("auto", ""), ("grpcio", "")],
)
def test_a_transport_that_is_not_installed_is_a_problem_where_it_is_required(
    tmp_path: Path, transport: str, problem: str
) -> None:
    python = environment_without_extension(tmp_path / "environment")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, "-c", PROGRAM, tmp_path, transport]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == f"{problem}\n"
