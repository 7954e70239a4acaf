"""scripts/run, in a copy of the tree that borrows this environment."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import short_directory
from tests.cli.terminal import ROOT, TIMEOUT_S, clean_environment
from tests.rpc.native_tests import environment_without_extension

pytestmark = pytest.mark.slow


@pytest.fixture
def tree() -> Iterator[Path]:
    """A tree whose scripts/setup has nothing to do."""
    with short_directory() as root:
        for name in ("appliance", "models"):
            (root / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        (root / ".venv" / "bin").mkdir(parents=True)
        program = root / ".venv" / "bin" / "appliance"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m appliance.cli.main "$@"\n')
        program.chmod(0o755)
        (root / "scripts" / "setup").write_text("#!/bin/sh\n")
        yield root


def run(tree: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [tree / "scripts" / "run", *words],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def test_once_shows_one_right_answer_for_each_model_and_ends(tree: Path) -> None:
    result = run(tree, "--once", "--listen", "127.0.0.1:0")

    assert result.returncode == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["MODEL", "breast-cancer", "digits"]
    assert "stopped" in (tree / ".appliance" / "run.log").read_text()


def test_it_says_in_one_line_that_the_native_transport_is_not_installed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    python = environment_without_extension(tmp_path)
    (tree / ".venv" / "bin" / "appliance").write_text(f'#!/bin/sh\nexec {python} -m appliance.cli.main "$@"\n')

    result = run(tree, "--once", "--listen", "127.0.0.1:0")

    assert result.returncode == 0, result.stderr
    assert "over grpcio; the native transport is not installed: scripts/build-native" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_wrong_answer_fails(tree: Path) -> None:
    (tree / "models").unlink()
    shutil.copytree(ROOT / "models", tree / "models")
    golden = tree / "models" / "digits" / "golden" / "golden.toml"
    golden.write_text(golden.read_text().replace('answer = "0"', 'answer = "8"'))

    result = run(tree, "--once", "--listen", "127.0.0.1:0")

    assert result.returncode == 1
    assert "expected 8" in result.stdout


def test_a_port_that_is_taken_is_named(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run(tree, "--once", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")

    assert result.returncode == 1
    assert result.stderr.startswith("error: cannot listen on 127.0.0.1:")
    assert result.stdout == ""


def test_an_argument_that_does_not_exist_is_wrong_usage(tree: Path) -> None:
    assert run(tree, "--nonesuch").returncode == 2


def test_it_serves_until_interrupted_and_leaves_nothing_behind(tree: Path) -> None:
    process = subprocess.Popen(
        [tree / "scripts" / "run", "--listen", "127.0.0.1:0"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C stops it" in line:
                break
        lock = (tree / ".appliance" / "run" / "daemon.lock").read_text()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        code = process.wait(TIMEOUT_S)
    finally:
        process.kill()
        process.stdout.close()

    assert code == 130
    assert "stopped" in (tree / ".appliance" / "run.log").read_text()
    assert not is_alive(int(re.match(r"\d+", lock)[0]))


def is_alive(pid: int) -> bool:
    deadline_s = time.monotonic() + 5
    while time.monotonic() < deadline_s:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.05)
    return True
