"""`--help` of everything in scripts/: it says how it is called, and does nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and os.access(path, os.X_OK))
PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One in which nothing was ever set up, and a set-up leaves a trace and fails."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("appliance", "protos", "pyproject.toml", "systemd"):
        (root / name).symlink_to(ROOT / name)
    (root / "scripts" / "setup").write_text('#!/bin/sh\ntouch "$(dirname "$0")/../a-set-up"\nexit 1\n')
    return root


def everything_in(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_how_it_is_called_and_makes_nothing(checkout: Path, tmp_path: Path, name: str) -> None:
    script = (ROOT if name == "setup" else checkout) / "scripts" / name
    before = everything_in(checkout)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = os.environ | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    done = subprocess.run(
        [script, "--help"],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert name in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert everything_in(checkout) == before
