"""Machines and what is installed on them: built once for each session, skipped with a reason where it cannot be.

With APPLIANCE_REQUIRE_ROOT_TESTS=1 a machine that cannot be built fails: a proof must not be skipped in silence.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.booted_system import BootedSystem, NotPossibleHere, machine

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def why_no_machine(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    if os.geteuid() != 0:
        return "only root can build a machine of namespaces"
    try:
        with machine(tmp_path_factory.mktemp("machine") / "disk") as system:
            system.boot()
    except (NotPossibleHere, OSError) as reason:
        return str(reason)
    return None


@pytest.fixture(scope="session")
def software_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as a software tree."""
    out = tmp_path_factory.mktemp("software") / "tree"
    subprocess.run([sys.executable, ROOT / "scripts" / "build-software", out], check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def package(software_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Debian package of this checkout."""
    out = tmp_path_factory.mktemp("deb")
    command = [ROOT / "scripts" / "build-deb", "--software", software_tree, out]
    subprocess.run(command, check=True, capture_output=True)
    (deb,) = out.glob("*.deb")
    return deb


@pytest.fixture(scope="module")
def possible(why_no_machine: str | None) -> None:
    if why_no_machine is None:
        return
    if os.environ.get("APPLIANCE_REQUIRE_ROOT_TESTS") == "1":
        pytest.fail(f"APPLIANCE_REQUIRE_ROOT_TESTS is set, but there is no machine here: {why_no_machine}")
    pytest.skip(f"no machine here: {why_no_machine}")


@pytest.fixture(scope="module")
def system(possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedSystem]:
    """A machine for the tests of one file; off."""
    with machine(tmp_path_factory.mktemp("machine") / "disk") as system:
        yield system
