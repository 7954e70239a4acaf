"""scripts/setup: what it says of the native transport when it has made an environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.rpc.native_tests import environment_without_extension

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Whose environment has no extension, and a pip that has nothing to do."""
    python = environment_without_extension(tmp_path / "environment")
    program = tmp_path / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\n[ "$2" != pip ] || exit 0\nexec {python} "$@"\n')
    program.chmod(0o755)
    for name in ("scripts/setup", "pyproject.toml", "tests/support/third_party_models.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def told_of_native(tree: Path, path: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": path}
    done = subprocess.run([tree / "scripts" / "setup"], env=environment, capture_output=True, text=True, check=True)
    return [line for line in done.stderr.splitlines() if "build-native" in line]


def test_it_says_in_one_line_that_the_native_transport_is_not_built_and_how_it_is(tree: Path) -> None:
    (line,) = told_of_native(tree, path="")

    assert line.startswith("setup: the native transport is not built, grpcio serves: scripts/build-native --own-core")


def test_it_says_nothing_where_the_native_transport_is_there(tree: Path) -> None:
    (tree / "appliance_native.py").touch()

    assert told_of_native(tree, path=str(tree)) == []
