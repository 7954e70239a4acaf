"""What scripts/build-software makes: the same from the same checkout, whole, and silent about where it was made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.slots.running import command_of
from appliance.slots.tree import check_tree, read_software, tree_digest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def test_a_tree_is_built_twice_with_the_same_bytes(software_tree, tmp_path):
    subprocess.run([sys.executable, ROOT / "scripts" / "build-software", tmp_path / "again"], check=True)

    assert tree_digest(tmp_path / "again") == tree_digest(software_tree)
    assert check_tree(tmp_path / "again", tree_digest(software_tree)) == ""


def test_a_tree_holds_no_compiled_code_and_no_path_of_this_machine(software_tree):
    mine = os.fsencode(ROOT)
    telling = [
        path
        for path in software_tree.rglob("*")
        if path.is_file() and (path.suffix == ".pyc" or mine in path.read_bytes())
    ]

    assert telling == []


def test_a_tree_runs_alone(software_tree, tmp_path):
    command = command_of(software_tree, tree_digest(software_tree), None, ["--version"])
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)

    assert done.stdout == f"appliance {read_software(software_tree).version}\n"


def test_what_is_there_is_not_overwritten(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "build-software", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "is there already" in done.stderr
