"""What scripts/build-software makes: the same from the same checkout, whole, and silent about where it was made."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.slots.running import command_of
from appliance.slots.tree import check_tree, read_software, tree_digest
from tests.rpc.native_tests import needs_extension

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def test_a_tree_is_built_twice_with_the_same_bytes(software_tree, with_native, tmp_path):
    command = [sys.executable, ROOT / "scripts" / "build-software", tmp_path / "again", *with_native]
    subprocess.run(command, check=True)

    assert tree_digest(tmp_path / "again") == tree_digest(software_tree)
    assert check_tree(tmp_path / "again", tree_digest(software_tree)) == ""


def test_a_tree_holds_its_compiled_code_and_no_path_of_this_machine(software_tree):
    files = [path for path in software_tree.rglob("*") if path.is_file()]
    places = [os.fsencode(place) for place in (ROOT, software_tree)]
    telling = [path for path in files if any(place in path.read_bytes() for place in places)]

    assert telling == []
    source = software_tree / "site/appliance/cli/main.py"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    # PEP 552: flags 3 are a digest of the source, which is looked at.
    assert compiled.read_bytes()[4:8] == (3).to_bytes(4, "little")
    assert compiled.read_bytes()[8:16] == importlib.util.source_hash(source.read_bytes())


def test_a_tree_runs_alone(software_tree, tmp_path):
    command = command_of(software_tree, ["--version"])
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=True)

    assert done.stdout == f"appliance {read_software(software_tree).version}\n"


@needs_extension
def test_a_tree_takes_the_native_transport_along(software_tree, tmp_path):
    doctor = command_of(software_tree, ["doctor", "--state", str(tmp_path), "--json"])
    checks = json.loads(subprocess.run(doctor, env={}, capture_output=True, text=True, check=False).stdout)

    (transport,) = [check for check in checks if check["name"] == "transport"]
    assert transport["finding"].startswith("native, over gRPC's core")


def test_a_native_wheel_that_is_not_there_is_a_usage_error(tmp_path):
    command = [
        sys.executable,
        ROOT / "scripts" / "build-software",
        tmp_path / "tree",
        "--native",
        tmp_path / "no.whl",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "scripts/build-native --own-core --wheel DIR" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path):
    command = [sys.executable, ROOT / "scripts" / "build-software", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "is there already" in done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every wheel of the lock, and what builds our own: what a person carries to a workstation without a network."""
    directory = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--dest={directory}"]
    lock = ROOT / "scripts" / "software" / "cpu.lock"
    subprocess.run([*pip, "--require-hashes", "--requirement", lock], check=True)
    subprocess.run([*pip, "--no-deps", "setuptools>=77"], check=True)
    return directory


def built_offline(out: Path, wheels: Path, *options: str | Path) -> "subprocess.CompletedProcess[str]":
    """Build with what lies in the directory: no index, no cache and no other directory can be asked."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("PIP_")}
    closed = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_CACHE_DIR": "1", "PIP_INDEX_URL": "http://127.0.0.1:9/"}
    command = [sys.executable, ROOT / "scripts" / "build-software", out, "--wheels", wheels, *options]
    return subprocess.run(command, env=kept | closed, capture_output=True, text=True, check=False)


def test_a_tree_is_built_from_a_directory_of_wheels_without_a_network(software_tree, wheels, with_native, tmp_path):
    done = built_offline(tmp_path / "tree", wheels, *with_native)

    assert done.returncode == 0, done.stderr
    assert tree_digest(tmp_path / "tree") == tree_digest(software_tree)


def test_a_wheel_that_is_missing_or_another_one_ends_the_build_and_leaves_no_tree(wheels, tmp_path):
    carried = tmp_path / "carried"
    shutil.copytree(wheels, carried)
    (typer,) = carried.glob("typer-*.whl")
    content = typer.read_bytes()
    typer.unlink()
    missing = built_offline(tmp_path / "missing", carried)
    typer.write_bytes(content + b" ")
    changed = built_offline(tmp_path / "changed", carried)

    assert missing.returncode == changed.returncode == 1
    assert "typer" in missing.stderr
    assert "DO NOT MATCH THE HASHES" in changed.stderr
    assert not (tmp_path / "missing").exists()
    assert not (tmp_path / "changed").exists()
