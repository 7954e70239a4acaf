"""Very many requests of all kinds over the native transport: does what the daemon holds grow with their number?

The load is that of tests/rpc/test_soak.py: two clients, mostly tiny requests, some of 600 KB, some cancelled, some
streams. Each client compares every answer and ends with an error at the first that is not what it must be.
"""

import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from appliance.errors import Failed
from benchmark import peers
from benchmark.goals import Goal
from benchmark.measure import Say
from benchmark.report import Machine, goal_table
from benchmark.server_process import ServerProcess
from benchmark.soak import MEGABYTE, SETTLE_S
from tests.rpc.hostility import NOISE_BYTES, lost_bytes, write_hostile_models

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = "tests/rpc/test_native_sanitizers.py"
MODELS = ("identity_fp32", "flat_fp32")  # that the load asks
ROUNDS, CLIENTS = 10, 2
MOST_FILES = 16  # more than after the warm-up
FEWEST_REQUESTS = ROUNDS * CLIENTS
SHARE_ANSWERED = 0.999  # the rest was cancelled, some of it too late


@dataclass(frozen=True, slots=True)
class Reading:
    """What the daemon holds."""

    rss_bytes: int
    files: int
    threads: int


@dataclass(frozen=True, slots=True)
class LongSoakResult:
    """Readings after the warm-up, which is a tenth more, and after each tenth."""

    requests: int
    answered: int  # as the daemon counts
    took_s: float
    readings: list[Reading]

    @property
    def growth_bytes(self) -> int:
        """What the last tenths hold more than the first ones: until then the allocator gets what it needs."""
        return lost_bytes([each.rss_bytes for each in self.readings[1:]])

    @property
    def more_files(self) -> int:
        """Open files more than after the warm-up, at their most."""
        return max(each.files for each in self.readings[1:]) - self.readings[0].files


def long_soak(requests: int, say: Say) -> LongSoakResult:
    """Run the load in tenths, rounded down to what they share out. Raises Failed if an answer is wrong."""
    requests -= requests % FEWEST_REQUESTS
    with TemporaryDirectory(prefix="bench-") as folder:
        models = write_hostile_models(Path(folder) / "models")
        with peers.daemon(models, Path(folder) / "state", "native") as daemon:
            say(f"long soak: warm-up with {requests // ROUNDS:,} requests")
            _load(daemon, requests // ROUNDS)
            readings, before = [_read(daemon)], _answered(daemon)
            started_s = time.monotonic()
            for number in range(ROUNDS):
                _load(daemon, requests // ROUNDS)
                readings.append(_read(daemon))
                say(f"long soak: {number + 1}/{ROUNDS}: {readings[-1].rss_bytes / MEGABYTE:.1f} MB")
            took_s = time.monotonic() - started_s - ROUNDS * SETTLE_S
            answered = _answered(daemon) - before
    return LongSoakResult(requests, answered, took_s, readings)


def _load(daemon: ServerProcess, requests: int) -> None:
    command = [sys.executable, "-m", "tests.rpc.varied_load", daemon.address, str(requests // CLIENTS)]
    clients = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
    for client in clients:
        _, said = client.communicate()
        if client.returncode != 0:
            raise Failed(f"a client of the soak was not answered as it must be: {said.strip()[-300:]}",
                         hint=" ".join(command))  # fmt: skip


def _read(daemon: ServerProcess) -> Reading:
    time.sleep(SETTLE_S)
    process = psutil.Process(daemon.pid)
    return Reading(daemon.rss_bytes(), process.num_fds(), process.num_threads())


def _answered(daemon: ServerProcess) -> int:
    return sum(daemon.counts(model).requests for model in MODELS)


def run_sanitizers(say: Say) -> str:
    """Run the slow test that builds the extension with sanitizers, and say how it ended."""
    say(f"long soak: {SANITIZERS}")
    with TemporaryDirectory(prefix="bench-") as folder:
        report = Path(folder) / "junit.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", SANITIZERS, f"--junitxml={report}"]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
        if not report.exists():
            raise Failed("the sanitizers' test does not run", hint=" ".join(command[:-1]))
        return read_junit(report.read_text())


def read_junit(report: str) -> str:
    """Say how many tests ended how, of pytest's report."""
    (suite,) = ET.fromstring(report).iter("testsuite")
    counts = {name: int(suite.get(name, 0)) for name in ("failures", "errors", "skipped")}
    passed = int(suite.get("tests", 0)) - sum(counts.values())
    others = [f", {count} {name}" for name, count in counts.items() if count]
    return f"{passed} passed{''.join(others)}, in {float(suite.get('time', 0)):.0f} s"


def judge(result: LongSoakResult) -> list[Goal]:
    """Judge as tests/rpc/test_soak.py does."""
    load = f"{result.requests:,} requests"
    growth, fewest = result.growth_bytes, round(result.requests * SHARE_ANSWERED)
    return [
        Goal(load, "RSS of the last tenths above that of the first", f"< {NOISE_BYTES / MEGABYTE:.0f} MB",
             f"{growth / MEGABYTE:.1f} MB", growth < NOISE_BYTES),
        Goal(load, "open files more than after the warm-up", f"<= {MOST_FILES}", f"{result.more_files}",
             result.more_files <= MOST_FILES),
        Goal(load, "answered, and none of it wrong", f">= {fewest:,}", f"{result.answered:,}",
             result.answered >= fewest),
    ]  # fmt: skip


def long_soak_section(machine: Machine, result: LongSoakResult, goals: Sequence[Goal], sanitizers: str) -> str:
    """Render readings and goals. sanitizers: how their test ended."""
    tenth = result.requests // ROUNDS
    lost = NOISE_BYTES / (result.requests / 2)  # between the middle of the first tenths and that of the last
    method = (
        f"`scripts/bench --soak --requests {result.requests}`: the load of tests/rpc/test_soak.py, {CLIENTS} clients "
        "that compare every answer; every 100th request and its answer have 600 KB, every 1000th is cancelled, every "
        "5000th is followed by a stream, whose messages are answered beyond the requests. "
        f"The warm-up is {tenth:,} requests more; {result.took_s:.0f} s in all. "
        f"{lost:,.0f} bytes lost for each request would miss the first goal."
    )
    names = ["the warm-up", *(f"{tenth * number:,} requests" for number in range(1, ROUNDS + 1))]
    rows = [
        f"| {name} | {reading.rss_bytes / MEGABYTE:.1f} MB | {reading.files} | {reading.threads} |"
        for name, reading in zip(names, result.readings, strict=True)
    ]
    table = "\n".join(["| daemon, native, after | RSS | files | threads |", "| --- | ---: | ---: | ---: |", *rows])
    under = f"Under the sanitizers for addresses and undefined behaviour (`{SANITIZERS}`): {sanitizers}."
    return "\n\n".join(
        ["## Long soak of the native transport", machine.sentence(), method, goal_table(goals), table, under]
    )
