"""The whole story of a signed update, where there is no network and nobody is root."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import TRANSPORT_SETTING

ROOT = Path(__file__).parents[2]
# An ordinary user without any right, and a network namespace in which not even the loopback is up.
ALONE = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--net", "--"]


@pytest.fixture
def directory() -> Iterator[Path]:
    """One with a short path, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="a-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.slow
def test_from_the_ceremony_to_the_receipt(directory: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"], check=False).returncode:
        pytest.skip("namespaces are not permitted here")
    line = [*ALONE, sys.executable, "-m", "tests.updates.story", str(directory)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("APPLIANCE_")}
    environment = kept | TRANSPORT_SETTING

    told = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False)
    log = directory / "serve.log"
    assert told.returncode == 0, f"{told.stderr}\n{log.read_text()[-3000:] if log.exists() else ''}"
