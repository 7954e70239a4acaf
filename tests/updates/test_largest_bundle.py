"""The largest legal bundle is accepted whole, one step more is refused (times: scripts/bench-verification)."""

import os
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.bundle.layout import MOST_DELEGATIONS, MOST_ROOTS
from appliance.bundle.refusal import UpdateRefused
from appliance.updates.medium import Medium
from appliance.updates.trust_store import TrustStore
from appliance.updates.verifier import BundleVerifier
from tests.updates.forging import metadata_of

_ROOT = Path(__file__).parents[2]
_LARGEST_BYTES = 100 * 10**6
_MAKE = "import sys, pathlib; from benchmark.verifying import make_largest; make_largest(pathlib.Path(sys.argv[1]))"


def largest_bundle(folder: Path) -> Path:
    """Let the benchmark make it: its modules are not on the tests' path."""
    environment = os.environ | {"PYTHONPATH": f"{_ROOT / 'scripts'}:{_ROOT}"}
    subprocess.run([sys.executable, "-c", _MAKE, str(folder)], check=True, env=environment, timeout=120)
    return folder / "stick"


@pytest.mark.slow
def test_the_largest_legal_bundle_is_accepted_and_one_with_a_root_too_many_is_not(tmp_path: Path) -> None:
    stick = largest_bundle(tmp_path)
    store = TrustStore(tmp_path / "trust")
    store.provision((tmp_path / "station" / "metadata" / "1.root.json").read_bytes())
    tracemalloc.start()
    try:
        with Medium.open(stick) as medium, BundleVerifier(store, medium).verify(datetime.now(UTC)) as bundle:
            contents = [bundle.read_target(item.path, item.sha256) for item in bundle.ticket.items]
            bundle.commit()
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(contents) == 500
    assert store.versions()["root"] == MOST_ROOTS
    assert len(store.versions()) >= MOST_DELEGATIONS
    assert peak_bytes < _LARGEST_BYTES

    new = TrustStore(tmp_path / "new")
    new.provision((tmp_path / "station" / "metadata" / "1.root.json").read_bytes())
    (metadata_of(stick) / f"{MOST_ROOTS + 2}.root.json").write_bytes(b"{}")
    with Medium.open(stick) as medium, pytest.raises(UpdateRefused) as caught:
        BundleVerifier(new, medium).verify(datetime.now(UTC))
    assert caught.value.reason.name == "ROOT_CHAIN_GAP"
    assert new.versions() == {"root": 1}
