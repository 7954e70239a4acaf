"""Deciding who signed what: the metadata of a bundle, from what a box trusted before to its ticket and its items.

Each reading is a process of its own, which counts its time from the moment when everything is imported, and its
memory above that. A usual bundle has one publisher and one configuration; the largest legal one brings a box from
root 1 to 256, has 200 delegations and 5,000 targets, of which its ticket names 500.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from appliance.bundle.layout import MOST_DELEGATIONS, MOST_ROOTS, MOST_TARGETS, hashed_target
from appliance.bundle.policy import Policy
from appliance.bundle.ticket import MOST_ITEMS, Devices
from appliance.publish.ceremony import delegate, hold_ceremony
from appliance.publish.cutting import CutRequest, all_items, cut, renew
from appliance.publish.items import add_config, add_publisher, add_site
from appliance.publish.station import Station
from appliance.updates.medium import Medium
from appliance.updates.trust_store import TrustStore
from appliance.updates.verifier import BundleVerifier
from benchmark.document import update_document
from benchmark.goals import Goal
from benchmark.report import Machine, goal_table
from benchmark.staging import memory_bytes

DOCUMENT = Path(__file__).resolve().parents[2] / "BENCHMARKS.md"
SECTION = "verification"
USUAL_S = 0.05
LARGEST_S = 2.0
LARGEST_BYTES = 100 * 10**6
_SETTINGS = b'[log]\nlevel = "INFO"\n'


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds, and bytes of memory above what the process had before."""

    took_s: float
    extra_bytes: int


def make_usual(folder: Path) -> Path:
    """Write a bundle with one configuration."""
    with opened(folder, new=True) as station:
        hold_ceremony(station, Policy())
        add_publisher(station, "bench")
        add_site(station, "bench")
        add_config(station, "bench", "main", _SETTINGS)
        return written(station, folder, list(all_items(station)))


def make_largest(folder: Path) -> Path:
    """Write a bundle with as much metadata as a box accepts. Small configurations stand for models' manifests."""
    sites = MOST_DELEGATIONS - 2  # tickets and software are two
    with opened(folder, new=True) as station:
        hold_ceremony(station, Policy())
        targets = station.store.latest("targets").signed
        for number in range(sites):
            delegate(station, targets, f"config-s{number}", [f"config/s{number}/*"])
        station.signing.sign("targets", targets)
        for number in range(sites):
            fill(station, f"s{number}", MOST_TARGETS // sites + (number < MOST_TARGETS % sites))
        for _ in range(MOST_ROOTS - 1):
            renew(station, "root")
        items = list(all_items(station))
        return written(station, folder, items[:: len(items) // MOST_ITEMS][:MOST_ITEMS])


def fill(station: Station, site: str, count: int) -> None:
    """Sign that many targets for a site."""
    from tuf.api.metadata import TargetFile, Targets  # noqa: PLC0415

    content = Targets()
    for number in range(count):
        path = f"config/{site}/c{number}.toml"
        target = TargetFile.from_data(path, _SETTINGS, ["sha256"])
        station.put_target(hashed_target(path, target.hashes["sha256"]), _SETTINGS)
        content.targets[path] = target
    station.signing.sign(f"config-{site}", content)


def opened(folder: Path, *, new: bool = False):  # noqa: ANN201
    return Station.opened(folder / "station", lambda _: b"a few words in a row", new=new, kdf_rounds=1)


def written(station: Station, folder: Path, items: list[str]) -> Path:
    """Cut the bundle; returns where."""
    (folder / "stick").mkdir()
    cut(station, CutRequest(Devices(all=True), items=items), folder / "stick", lambda *_: None)
    return folder / "stick"


def verify(stick: Path, root: Path, trust: Path) -> Reading:
    """Verify as `update apply` does, and commit."""
    store = TrustStore(trust)
    store.provision(root.read_bytes())
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = memory_bytes("VmRSS")
    begin_s = time.perf_counter()
    with Medium.open(stick) as medium, BundleVerifier(store, medium).verify(datetime.now(UTC)) as bundle:
        for item in bundle.ticket.items:
            bundle.read_target(item.path, item.sha256)
        took_s = time.perf_counter() - begin_s
        bundle.commit()
    return Reading(took_s, memory_bytes("VmHWM") - before)


def read(folder: Path, number: int) -> Reading:
    """Verify in a process of its own."""
    order = [str(folder / "stick"), str(folder / "station/metadata/1.root.json"), str(folder / f"trust-{number}")]
    line = [sys.executable, "-m", "benchmark.verifying", "--verify", json.dumps(order)]
    took_s, extra_bytes = json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)
    return Reading(took_s, extra_bytes)


def judge(usual: list[Reading], largest: list[Reading]) -> list[Goal]:
    """Say whether the goals are met."""
    usual_s, largest_s = (median(each.took_s for each in readings) for readings in (usual, largest))
    memory = max(each.extra_bytes for each in largest)
    return [
        Goal("usual bundle", "time", f"< {USUAL_S * 1e3:.0f} ms", f"{usual_s * 1e3:.1f} ms", usual_s < USUAL_S),
        Goal("largest legal bundle", "time", f"< {LARGEST_S:g} s", f"{largest_s:.2f} s", largest_s < LARGEST_S),
        Goal("largest legal bundle", "memory", "< 100 MB", f"{memory / 1e6:.0f} MB", memory < LARGEST_BYTES),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench-verification", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the section to FILE, not to BENCHMARKS.md")
    parser.add_argument("--verify", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.verify:
        reading = verify(*map(Path, json.loads(given.verify)))
        sys.stdout.write(json.dumps([reading.took_s, reading.extra_bytes]))
        return
    machine = Machine.of_this_moment()
    with TemporaryDirectory(prefix="bench-verification-") as name:
        folders = [Path(name, kind) for kind in ("usual", "largest")]
        for folder, make in zip(folders, (make_usual, make_largest), strict=True):
            folder.mkdir()
            make(folder)
        readings = [[read(folder, number) for number in range(given.rounds)] for folder in folders]
    method = (
        f"`scripts/bench-verification`: signatures, versions, ticket and every item that it names; {given.rounds} "
        f"processes each. The largest has {MOST_ROOTS} roots, {MOST_DELEGATIONS} delegations, {MOST_TARGETS} targets "
        f"and a ticket with {MOST_ITEMS} items."
    )
    section = "\n\n".join(["## Verification of a bundle", machine.sentence(), method, goal_table(judge(*readings))])
    if given.out:
        given.out.write_text(section + "\n")
    else:
        update_document(DOCUMENT, SECTION, section)


if __name__ == "__main__":
    main()
