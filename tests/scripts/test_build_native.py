"""scripts/build-native: what it refuses. What it builds is in use wherever the native transport is tested."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.rpc.native_tests import needs_extension

ROOT = Path(__file__).resolve().parents[2]


def build_native(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [ROOT / "scripts" / "build-native", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nonsense"], "unknown argument '--nonsense'"),
        (["--wheel", "out"], "--own-core"),
        (["--own-core", "--from"], "expected a directory"),
        (["--fetch", "--own-core"], "expected a directory"),
        (["--own-core", "--wheel"], "expected a directory"),
    ],
)
def test_what_it_cannot_make_sense_of_is_a_usage_error(arguments: list[str], said: str) -> None:
    done = build_native(*arguments)

    assert done.returncode == 2
    assert said in done.stderr


def build_requirements() -> list[str]:
    project = tomllib.loads((ROOT / "appliance" / "rpc" / "native" / "pyproject.toml").read_text())
    requirements: list[str] = project["build-system"]["requires"]
    return requirements


def carry(directory: Path, *, without: str = "") -> None:
    """Files with the names of what --fetch brings."""
    pin = (ROOT / "appliance" / "rpc" / "native" / "core" / "grpcio.txt").read_text()
    (grpcio,) = re.findall(r"^grpcio==(\S+)", pin, re.MULTILINE)
    (directory / f"grpcio-{grpcio}.tar.gz").write_bytes(b"not what was asked for")
    for requirement in build_requirements():
        name, _, version = requirement.partition("==")
        if name != without:
            (directory / f"{name.replace('-', '_')}-{version}-py3-none-any.whl").touch()


def test_what_it_is_built_with_is_pinned_with_all_that_it_needs() -> None:
    pinned = {requirement.partition("==")[0] for requirement in build_requirements()}

    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", requirement) for requirement in build_requirements())
    assert pinned >= {"scikit-build-core", "nanobind", "cmake", "ninja", "packaging", "pathspec"}


@needs_extension
@pytest.mark.parametrize("missing", ["scikit-build-core", "cmake"])
def test_without_a_network_what_was_not_carried_is_named_with_how_to_get_it(tmp_path: Path, missing: str) -> None:
    carry(tmp_path, without=missing)

    done = build_native("--own-core", "--from", tmp_path, "--wheel", tmp_path / "out")

    assert done.returncode == 1
    assert re.search(rf"{tmp_path} lacks what it is built with: {missing}==[0-9.]+\n", done.stderr)
    assert "next: on a machine with a network and the same processor: scripts/build-native --fetch DIR" in done.stderr
    assert not (tmp_path / "out").exists()


@needs_extension
def test_carried_sources_that_are_not_those_of_the_pin_are_refused(tmp_path: Path) -> None:
    carry(tmp_path)

    done = build_native("--own-core", "--from", tmp_path, "--wheel", tmp_path / "out")

    assert done.returncode == 1
    assert re.search(r"grpcio-\S+ is not the one that appliance/rpc/native/core/grpcio.txt names", done.stderr)
    assert not (tmp_path / "out").exists()
