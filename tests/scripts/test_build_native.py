"""scripts/build-native: what it refuses. What it builds is in use wherever the native transport is tested."""

import subprocess
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
        (["--sources", "grpcio.tar.gz"], "--own-core"),
        (["--own-core", "--wheel"], "expected a directory"),
    ],
)
def test_what_it_cannot_make_sense_of_is_a_usage_error(arguments: list[str], said: str) -> None:
    done = build_native(*arguments)

    assert done.returncode == 2
    assert said in done.stderr


@needs_extension
def test_sources_that_are_not_those_of_the_pin_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "grpcio-9.tar.gz"
    other.write_bytes(b"not what was asked for")

    done = build_native("--own-core", "--wheel", tmp_path, "--sources", other)

    assert done.returncode == 1
    assert f"{other} is not the one that appliance/rpc/native/core/grpcio.txt names" in done.stderr
    assert list(tmp_path.iterdir()) == [other]


@needs_extension
def test_sources_that_are_not_there_are_told_with_how_to_get_them(tmp_path: Path) -> None:
    done = build_native("--own-core", "--wheel", tmp_path, "--sources", tmp_path / "absent")

    assert done.returncode == 1
    assert f"there is no file {tmp_path}/absent" in done.stderr
    assert "pip download" in done.stderr
