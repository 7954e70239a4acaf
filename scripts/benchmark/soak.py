"""Soak: does the daemon grow with requests and reloads, how much does it hold when idle, how fast is it up?"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from tritonclient import grpc as tritonclient  # type: ignore[import-untyped]  # ships no types

from benchmark import peers
from benchmark.cases import CNN, IDENTITY_TINY, BenchModel, write_repository
from benchmark.extension import installed_extension
from benchmark.goals import Goal
from benchmark.load_generator import LoadGenerator
from benchmark.server_process import ServerProcess

CONCURRENCY = 16
READINGS = 7
SETTLE_S = 2.0
MEGABYTE = 1_000_000

GROWTH_LIMIT_PERCENT = 2.0
IDLE_RSS_LIMIT_BYTES = 150 * MEGABYTE
COLD_START_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class SoakEffort:
    """How much to soak. Before the first reading a tenth of both is run as warm-up."""

    requests: int
    reloads: int
    starts: int


FULL = SoakEffort(requests=100_000, reloads=100, starts=5)
QUICK = SoakEffort(requests=2_000, reloads=10, starts=2)


@dataclass(frozen=True, slots=True)
class SoakResult:
    """What was read, in the order in which it was read."""

    transport: str
    requests: int
    reloads: int
    rss_warm_bytes: int
    rss_after_requests_bytes: int
    rss_after_reloads_bytes: int
    idle_rss_bytes: list[int]  # one per start with the shipped models; empty: they were not there
    cold_starts_s: list[float]

    @property
    def growth_percent(self) -> float:
        """Growth of resident memory after warm-up."""
        return (self.rss_after_reloads_bytes / self.rss_warm_bytes - 1) * 100


def soak(
    generator: LoadGenerator, shipped_models: Path, effort: SoakEffort, say: Callable[[str], None]
) -> SoakResult:
    """Run requests, reloads and starts, one after the other, on the native transport where that is built."""
    transport = "native" if installed_extension() is not None else "grpcio"
    with TemporaryDirectory(prefix="bench-") as folder:
        models = Path(folder) / "models"
        write_repository(models, (IDENTITY_TINY, CNN))
        with peers.daemon(models, Path(folder) / "state", transport) as daemon:
            say("soak: warm-up")
            _requests(generator, daemon, effort.requests // 10)
            _reloads(daemon, CNN, effort.reloads // 10)
            warm = _typical_rss(daemon)
            say(f"soak: {effort.requests} requests, from {warm / MEGABYTE:.1f} MB")
            _requests(generator, daemon, effort.requests)
            after_requests = _settled_rss(daemon)
            say(f"soak: {effort.reloads} unload/load cycles, from {after_requests / MEGABYTE:.1f} MB")
            _reloads(daemon, CNN, effort.reloads)
            after_reloads = _typical_rss(daemon)
    idle, starts = _starts(shipped_models, transport, effort.starts, say)
    return SoakResult(transport, effort.requests, effort.reloads, warm, after_requests, after_reloads, idle, starts)


def _requests(generator: LoadGenerator, daemon: ServerProcess, count: int) -> None:
    before = daemon.counts(IDENTITY_TINY.name).requests
    missing = count
    while missing > 0:
        # perf_analyzer takes no fewer requests than clients.
        generator.run_count(daemon.address, IDENTITY_TINY.name, CONCURRENCY, max(missing, CONCURRENCY))
        missing = count - (daemon.counts(IDENTITY_TINY.name).requests - before)


def _reloads(daemon: ServerProcess, model: BenchModel, count: int) -> None:
    with tritonclient.InferenceServerClient(daemon.address) as client:
        for _ in range(count):
            client.unload_model(model.name)
            client.load_model(model.name)
            _infer(client, model)


def _infer(client: tritonclient.InferenceServerClient, model: BenchModel) -> None:
    name = client.get_model_metadata(model.name).inputs[0].name
    tensor = tritonclient.InferInput(name, [1, *model.input_dims], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, *model.input_dims), dtype=np.float32))
    client.infer(model.name, [tensor])


def _typical_rss(daemon: ServerProcess) -> int:
    """Median over some more reloads: what one of them leaves depends on the thread that it happened to run on."""
    readings = []
    for _ in range(READINGS):
        _reloads(daemon, CNN, 1)
        readings.append(_settled_rss(daemon))
    return round(median(readings))


def _settled_rss(daemon: ServerProcess) -> int:
    time.sleep(SETTLE_S)
    return daemon.rss_bytes()


def _starts(models: Path, transport: str, count: int, say: Callable[[str], None]) -> tuple[list[int], list[float]]:
    idle: list[int] = []
    starts: list[float] = []
    if not models.is_dir():
        say(f"soak: {models} is not there, so idle memory and cold start are not measured; run scripts/train-models")
        return idle, starts
    for _ in range(count):
        with TemporaryDirectory(prefix="bench-") as folder, peers.daemon(models, Path(folder), transport) as daemon:
            starts.append(daemon.ready_after_s)
            idle.append(_settled_rss(daemon))
        say(f"soak: start with {models.name}/: ready after {starts[-1]:.2f} s, {idle[-1] / MEGABYTE:.1f} MB idle")
    return idle, starts


def judge(result: SoakResult) -> list[Goal]:
    """Judge the goals. Idle memory is judged by its maximum, the cold start by its median."""
    load = f"{result.requests:,} requests, {result.reloads} unload/load cycles"
    growth = result.growth_percent
    goals = [
        Goal(load, "growth of RSS after warm-up", f"< {GROWTH_LIMIT_PERCENT:.0f} %", f"{growth:.2f} %",
             growth < GROWTH_LIMIT_PERCENT),
    ]  # fmt: skip
    if result.cold_starts_s:
        rss_bytes, start_s = max(result.idle_rss_bytes), median(result.cold_starts_s)
        goals += [
            Goal("shipped models, idle", "RSS", f"< {IDLE_RSS_LIMIT_BYTES // MEGABYTE} MB",
                 f"{rss_bytes / MEGABYTE:.1f} MB", rss_bytes < IDLE_RSS_LIMIT_BYTES),
            Goal("shipped models, start", "exec to READY", f"< {COLD_START_LIMIT_S:.0f} s",
                 f"{start_s:.2f} s", start_s < COLD_START_LIMIT_S),
        ]  # fmt: skip
    return goals
