"""What clients notice while a box updates, scrubs and collects garbage: failed requests, the slowest of a hundred.

In each round the same clients call the same model while nothing else happens, while a bundle with a new version of it
is applied (verified, copied, tried in a child process, loaded, switched over to), while all content is read back, and
while the version before is removed. The quiet time of the same round is what the others are compared with. A floor:
dd, at the lowest priority, writing as many bytes to the same disk: what any way of copying costs clients here.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import numpy as np
import tritonclient.grpc as triton

from appliance.bundle.layout import BUNDLE_DIRECTORY
from appliance.bundle.policy import Policy
from appliance.bundle.ticket import Devices
from appliance.publish.ceremony import hold_ceremony
from appliance.publish.cutting import CutRequest, cut
from appliance.publish.items import add_model, add_publisher
from appliance.publish.station import Station
from benchmark.document import update_document
from benchmark.goals import Goal
from benchmark.report import Machine, goal_table

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "BENCHMARKS.md"
SECTION = "updates"
MODEL = "digits"
CLIENTS = 2
PAUSE_S = 0.005
QUIET_S = 15.0
STEP_S = 600.0
MOST_TIMES_SLOWER = 2.0
_MIB = 1024 * 1024
PHASES = ("nothing else", "update", "scrub", "garbage collection", "dd")


@dataclass(frozen=True, slots=True)
class Phase:
    """Latencies in seconds, in order of time; how many requests failed; how long it took."""

    latencies_s: list[float]
    failures: int
    took_s: float

    @property
    def p50_s(self) -> float:
        """Half are quicker."""
        return median(self.latencies_s)

    @property
    def p99_s(self) -> float:
        """One in a hundred is slower."""
        return quantiles(self.latencies_s, n=100)[98]


class Clients:
    """Threads that call, pause, and write down how long each call took."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._image = np.load(ROOT / "models" / MODEL / "golden" / "1.input0.pixel_values.npy")
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CLIENTS)]
        self.latencies_s: list[float] = []
        self.failures = 0
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        with triton.InferenceServerClient(self._address) as client:
            tensor = triton.InferInput("pixel_values", list(self._image.shape), "FP32")
            tensor.set_data_from_numpy(self._image)
            while not self._stop.is_set():
                begin_s = time.perf_counter()
                try:
                    client.infer(MODEL, [tensor])
                except triton.InferenceServerException:
                    self.failures += 1
                self.latencies_s.append(time.perf_counter() - begin_s)
                time.sleep(PAUSE_S)


class Owner:
    """A signing station and the sticks that it writes."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self._folder = folder
        self._size_bytes = size_bytes
        with self._opened(new=True) as station:
            hold_ceremony(station, Policy())
            add_publisher(station, "bench")
        self.root = folder / "station" / "metadata" / "1.root.json"

    def stick(self, version: int) -> Path:
        """Write a bundle with that version of the model, and as many bytes beside it as were asked for."""
        package = self._folder / "packages" / str(version) / MODEL
        shutil.copytree(ROOT / "models" / MODEL, package)
        if version != 1:
            (package / "1").rename(package / str(version))
        with (package / str(version) / "beside.bin").open("wb") as stream:
            for _ in range(self._size_bytes // _MIB):
                stream.write(os.urandom(_MIB))
        place = self._folder / f"stick-{version}"
        place.mkdir()
        with self._opened() as station:
            add_model(station, package, "bench", lambda *_: None)
            cut(station, CutRequest(Devices(all=True)), place, lambda *_: None)
        shutil.rmtree(package)
        forget_cached(place / BUNDLE_DIRECTORY)
        return place

    @contextmanager
    def _opened(self, *, new: bool = False) -> Iterator[Station]:
        with Station.opened(
            self._folder / "station", lambda _: b"a few words in a row", new=new, kdf_rounds=1
        ) as station:
            yield station


def forget_cached(directory: Path) -> None:
    """Let the next reading come from the disk."""
    for path in directory.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def command(*words: str) -> None:
    """Run one command of the appliance."""
    line = [sys.executable, "-m", "appliance.cli.main", *words]
    subprocess.run(line, cwd=ROOT, check=True, capture_output=True, timeout=STEP_S)


def observe(address: str, act: Callable[[], object]) -> Phase:
    """Let clients call while something happens."""
    clients = Clients(address)
    begin_s = time.perf_counter()
    try:
        act()
    finally:
        took_s = time.perf_counter() - begin_s
        clients.end()
    return Phase(clients.latencies_s, clients.failures, took_s)


@contextmanager
def serving(state: Path, socket: Path) -> Iterator[str]:
    """The daemon; lends its address."""
    address = f"unix:{socket}"
    line = [sys.executable, "-m", "appliance.cli.main", "serve", "--state", str(state), "--listen", address]
    with (state / "serve.log").open("wb") as log, subprocess.Popen(line, cwd=ROOT, stderr=log) as daemon:
        deadline_s = time.monotonic() + STEP_S
        while "READY" not in (state / "serve.log").read_text():
            assert daemon.poll() is None, "the daemon ended"
            assert time.monotonic() < deadline_s, "the daemon does not come up"
            time.sleep(0.1)
        try:
            yield address
        finally:
            daemon.terminate()


def measure(folder: Path, size_bytes: int, rounds: int) -> list[dict[str, Phase]]:
    """Every phase of every round."""
    state, owner = folder / "box", Owner(folder, size_bytes)
    place = ["--state", str(state)]
    command("provision", "--root", str(owner.root), "--serial", "B1", "--hardware", "pc", "--site", "bench", *place)
    command("update", "apply", str(owner.stick(1)), *place)
    results = []
    with serving(state, folder / "i.sock") as address:
        for number in range(rounds):
            stick = owner.stick(number + 2)
            results.append(
                {
                    PHASES[0]: observe(address, lambda: time.sleep(QUIET_S)),
                    PHASES[1]: observe(address, lambda: command("update", "apply", str(stick), *place)),  # noqa: B023
                    PHASES[2]: observe(address, lambda: command("models", "scrub", *place)),
                    PHASES[3]: observe(address, lambda: remove(number + 1, place)),  # noqa: B023
                    PHASES[4]: observe(address, lambda: copy_with_dd(folder, size_bytes)),
                }
            )
            shutil.rmtree(stick)
    return results


def copy_with_dd(folder: Path, size_bytes: int) -> None:
    """Write that many bytes durably, at the lowest priority."""
    target = folder / "copy"
    blobs = folder / "box" / "blobs" / "sha256"
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    line = ["nice", "-n", "19", "dd", f"if={largest}", f"of={target}", "bs=4M", "conv=fsync", "status=none"]
    subprocess.run(line, check=True, timeout=STEP_S)
    assert target.stat().st_size >= size_bytes
    target.unlink()


def remove(version: int, place: list[str]) -> None:
    """Let a version go, and its content."""
    command("models", "remove", MODEL, str(version), *place)
    command("models", "gc", *place)


def judge(rounds: list[dict[str, Phase]]) -> list[Goal]:
    """Say whether the goals are met."""
    goals = []
    for name in PHASES[1:4]:
        failures = sum(each[name].failures for each in rounds)
        requests = sum(len(each[name].latencies_s) for each in rounds)
        goals.append(Goal(name, "failed requests", "0", f"{failures} of {requests}", failures == 0))
        ratios = [each[name].p99_s / each[PHASES[0]].p99_s for each in rounds]
        found = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        met = median(ratios) <= MOST_TIMES_SLOWER
        goals.append(Goal(name, "p99 against that of the quiet time", f"<= {MOST_TIMES_SLOWER:g}", found, met))
    return goals


def render(machine: Machine, rounds: list[dict[str, Phase]], size_bytes: int) -> str:
    """Write the section."""
    rows = []
    for name in PHASES:
        phases = [each[name] for each in rounds]
        rows.append(
            f"| {name} | {median(each.took_s for each in phases):.1f} s "
            f"| {sum(len(each.latencies_s) for each in phases)} "
            f"| {median(each.p50_s for each in phases) * 1e3:.2f} ms "
            f"| {median(each.p99_s for each in phases) * 1e3:.2f} ms |"
        )
    head = ["| while | takes | requests | p50 | p99 |", "| --- | ---: | ---: | ---: | ---: |"]
    method = (
        f"`scripts/bench-updates`: {CLIENTS} clients on the same machine call `{MODEL}` and pause "
        f"{PAUSE_S * 1e3:g} ms; each update brings {size_bytes // _MIB} MiB; rounds: {len(rounds)}, medians."
    )
    return "\n\n".join(
        [
            "## Updates beside clients",
            machine.sentence(),
            method,
            goal_table(judge(rounds)),
            "\n".join([*head, *rows]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench-updates", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=512, metavar="MIB", help="content of each update (default 512)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where to work; four times the size must be free"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the section to FILE, not to BENCHMARKS.md")
    arguments = parser.parse_args()
    machine = Machine.of_this_moment()
    with TemporaryDirectory(prefix="b-", dir=arguments.directory) as folder:
        rounds = measure(Path(folder), arguments.size * _MIB, arguments.rounds)
    section = render(machine, rounds, arguments.size * _MIB)
    if arguments.out:
        arguments.out.write_text(section + "\n")
    else:
        update_document(DOCUMENT, SECTION, section)


if __name__ == "__main__":
    main()
