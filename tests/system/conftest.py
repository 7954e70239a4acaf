"""Machines and what is installed on them: built once for each session, skipped with a reason where it cannot be.

With APPLIANCE_REQUIRE_ROOT_TESTS=1 a machine that cannot be built fails: a proof must not be skipped in silence.
"""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rpc.native_tests import HAS_EXTENSION
from tests.system.booted_system import BootedSystem, NotPossibleHere, machine
from tests.system.installed import add_models, install, wait_ready

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
def with_native(built: Path) -> list[str | Path]:
    """What scripts/build-software is told, to bring the native transport along where it can be built.

    Over the system's gRPC, which a machine of namespaces has: a core of its own takes a quarter of an hour to build.
    """
    if not HAS_EXTENSION and not os.environ.get("APPLIANCE_REQUIRE_NATIVE_TESTS"):
        return []
    wheels = built / "native"
    with turn(built):
        if not wheels.exists():
            source = ROOT / "appliance" / "rpc" / "native"
            pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={built / 'partial'}"]
            subprocess.run([*pip, source], check=True, capture_output=True)
            (built / "partial").rename(wheels)
    (wheel,) = wheels.glob("appliance_native-*.whl")
    return ["--native", wheel, "--allow-system-libraries"]


@pytest.fixture(scope="session")
def software_tree(built: Path, with_native: list[str | Path]) -> Path:
    """This checkout as a software tree. Not to be written to."""
    out = built / "tree"
    command = [sys.executable, ROOT / "scripts" / "build-software", out, *with_native]
    with turn(built):
        if not out.exists():
            subprocess.run(command, check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def package(software_tree: Path, built: Path) -> Path:
    """The Debian package of this checkout."""
    out = built / "deb"
    with turn(built):
        if not out.exists():
            partial = built / "deb.partial"
            command = [ROOT / "scripts" / "build-deb", "--software", software_tree, partial]
            subprocess.run(command, check=True, capture_output=True)
            partial.rename(out)
    (deb,) = out.glob("*.deb")
    return deb


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes of one run of tests share what takes long to build."""
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built"
    out.mkdir(exist_ok=True)
    return out


@contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Build one thing in one process at a time."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


@pytest.fixture(scope="module")
def cabinet(system: BootedSystem, package: Path) -> BootedSystem:
    """A box without an owner: installed from its package, with the shipped models served."""
    system.boot()
    install(system, package)
    wait_ready(system)
    add_models(system)
    return system
