"""Sticks of a real station for boxes that trust nobody yet."""

import hashlib
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from appliance.publish.software import add_software
from appliance.slots.tree import INSTALLATION, write_file_list
from tests.bootstrap.taken import Taken
from tests.slots.trees import make_tree
from tests.updates.boxes import Publisher, silent
from tests.updates.conftest import ceremony, publisher

__all__ = ["ceremony", "publisher"]

ROOT = Path(__file__).resolve().parents[2]
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Releases:
    """Signs small releases that bring an installation, in parts of 4 KiB."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher

    def stick(self, name: str, *, machine: str = platform.machine(), installation: bool = True) -> Path:
        target = self.sign(name, machine=machine, installation=installation)
        return self.publisher.cut(name, CutRequest(Devices(all=True), items=(target,)))

    def sign(
        self, name: str, *, machine: str = platform.machine(), installation: bool = True, variant: str = "cpu"
    ) -> str:
        tree = self.publisher.directory / "trees" / name
        make_tree(tree, "0.2.0", python=PYTHON, machine=machine, variant=variant)
        (tree / "site" / "big.bin").write_bytes(bytes(range(256)) * 40)
        if installation:
            for path, text in (
                ("usr/bin/appliance", "#!/bin/sh\n"),
                ("etc/appliance/appliance.toml", "# settings\n"),
            ):
                place = tree / INSTALLATION / path
                place.parent.mkdir(parents=True)
                place.write_text(text)
        write_file_list(tree)
        with self.publisher.opened() as station:
            return add_software(station, tree, silent, 1 << 12)


@pytest.fixture
def releases(publisher: Publisher) -> Releases:
    return Releases(publisher)


def build_installer(out: Path) -> str:
    command = [sys.executable, ROOT / "scripts" / "build-installer", out]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("installer") / "installer"
    build_installer(out)
    return out / "bootstrap.pyz"


@pytest.fixture
def take(program: Path, publisher: Publisher, tmp_path: Path) -> Callable[..., Taken]:
    """Run the program as a technician's script does."""

    def run(stick: Path, *trust: str | Path) -> Taken:
        out = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        out.mkdir()
        named = trust or ("--root-fingerprint", hashlib.sha256(publisher.root).hexdigest())
        # -S: without the packages of this environment.
        command = [sys.executable, "-I", "-S", program, stick, *named, "--out", out]
        done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
        return Taken(done.returncode, done.stderr, out)

    return run
