"""Writes the results as Markdown. Load and soak are sections of their own: each can be measured again alone."""

import datetime as dt
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median

import psutil

from benchmark.cases import MAX_BATCH_SIZE, Case
from benchmark.extension import installed_extension
from benchmark.goals import Goal
from benchmark.in_process import INTRA_OP_THREADS
from benchmark.installation import PERF_ANALYZER
from benchmark.measure import CaseResult, Effort, Run
from benchmark.peers import PACED_ECHO
from benchmark.soak import CONCURRENCY, MEGABYTE, SoakResult

LOAD, SOAK, LONG_SOAK, THREADS, NATIVE = "load", "soak", "long soak", "threads", "native"
PEERS = """\
* **daemon, native** and **daemon, grpcio**: the model served by `appliance serve` over either transport, one process
  for the models of all cases
* **tritonserver**: Triton's C++ server with its Python backend, as nvidia-pytriton ships it (no other build of it is
  at the public index), computing with the same ONNX Runtime
* **native echo**: the native transport's extension with an event loop in Python that answers every request with
  constant bytes. There is no echo in C++ alone: it would be a lower floor, and to be measured by it stricter
* **echo**: a bare grpc.aio server that answers every request with constant bytes of the right size
* **protobuf echo**: a grpc.aio server that takes the tensors through protobuf messages
* **in process**: the same model by ONNX Runtime without a server, at the batch size that formed in the daemon.
  *Alone*: back to back on an otherwise idle machine, the least it costs. *Side by side*: at the daemon's pace, while
  the load generator drives an echo that answers in groups of that size at that pace: the daemon's two parts without
  the daemon, under the same load, with caches as cool and neighbours as busy as it has them"""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where the numbers come from."""

    date: str
    processor: str
    cores: int
    memory_gb: float
    system: str
    load_average: float  # of the last minute, before the first measurement
    versions: dict[str, str]
    native_core: str  # gRPC's core under the native transport: version and kind; '' if that is not built

    @classmethod
    def of_this_moment(cls) -> "Machine":
        extension = installed_extension()
        names = ("grpcio", "protobuf", "numpy", "onnxruntime")
        return cls(
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            processor=_processor(),
            cores=psutil.cpu_count() or 1,
            memory_gb=psutil.virtual_memory().total / 1e9,
            system=f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
            load_average=os.getloadavg()[0],
            versions={"Python": platform.python_version()} | {name: metadata.version(name) for name in names},
            native_core=extension.core if extension is not None else "",
        )

    def sentence(self) -> str:
        """Say it all in one paragraph."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        native = f"over gRPC core {self.native_core}" if self.native_core else "not built"
        return (
            f"Measured on {self.date}: {self.processor}, {self.cores} cores, {self.memory_gb:.0f} GB, {self.system}; "
            f"{versions}; native transport {native}; load average before the start {self.load_average:.1f}."
        )


def load_section(
    machine: Machine, effort: Effort, cases: Sequence[Case], results: Sequence[CaseResult], goals: Sequence[Goal]
) -> str:
    """Render the load cases."""
    measured = {result.case: result for result in results}
    method = (
        f"Load generator: perf_analyzer of {PERF_ANALYZER.requirement}, closed loop. Rounds: {effort.rounds}, each "
        f"3 x {effort.window_s:g} s, daemon and peers in turn; medians, in goals with the range over the rounds. "
        f"Models: maximal batch {MAX_BATCH_SIZE}, no queue delay, one instance, intra-op threads {INTRA_OP_THREADS}."
    )
    parts = ["## Load", machine.sentence(), method, PEERS, "### Goals", goal_table(goals), *unmet_list(goals)]
    parts += [_case_part(case, measured[case.name]) for case in cases if case.name in measured]
    return "\n\n".join(parts)


def soak_section(machine: Machine, result: SoakResult, goals: Sequence[Goal]) -> str:
    """Render the soak."""
    readings = [
        ("after warm-up", result.rss_warm_bytes),
        (f"after {result.requests:,} requests", result.rss_after_requests_bytes),
        (f"after {result.reloads} unload/load cycles", result.rss_after_reloads_bytes),
    ]
    rows = [f"| {name} | {size / MEGABYTE:.1f} MB |" for name, size in readings]
    starts = "idle memory and cold start: not measured, the shipped models were not there"
    if result.cold_starts_s:
        listed = ", ".join(f"{start_s:.2f} s" for start_s in result.cold_starts_s)
        starts = (
            f"Starts with the shipped models (process start to `ServerReady`, files in the page cache): {listed}."
        )
    method = (
        f"The daemon on the {result.transport} transport: tiny requests at concurrency {CONCURRENCY}, then one model "
        "unloaded and loaded again and again; warm-up is a tenth of both."
    )
    table = "\n".join([f"| daemon, {result.transport} | RSS |", "| --- | ---: |", *rows])
    return "\n\n".join(
        ["## Soak", machine.sentence(), method, "### Goals of the soak", goal_table(goals), table, starts]
    )


def goal_table(goals: Sequence[Goal]) -> str:
    """Render goals, met or not."""
    rows = [
        f"| {goal.subject} | {goal.text} | {goal.target} | {goal.found} | {'met' if goal.met else '**not met**'} |"
        for goal in goals
    ]
    return "\n".join(["| case | value | target | found | |", "| --- | --- | --- | --- | --- |", *rows])


def unmet_list(goals: Sequence[Goal]) -> list[str]:
    """Render what was found in each round where a goal is not met; nothing if all are."""
    rows = [
        f"* {goal.subject}, {goal.text} ({goal.target}): {', '.join(f'{value:.2f}' for value in goal.by_round)}"
        for goal in goals
        if not goal.met
    ]
    met = len(goals) - len(rows)
    return [f"Met: {met} of {len(goals)}. Not met, with the values of the rounds:", "\n".join(rows)] if rows else []


def _case_part(case: Case, result: CaseResult) -> str:
    header = "| | req/s | p50 | p99 | CPU per request | mean batch | RSS before, after |\n"
    rule = "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    rows = [_server_row(name, runs) for name, runs in result.servers.items()]
    if result.beside:
        rows.append(_server_row(PACED_ECHO, [beside.echo for beside in result.beside]))
    parts = [f"### {case.title}", header + rule + "\n".join(rows)]
    if result.in_process_batch:
        parts.append(_in_process_table(result))
    return "\n\n".join(parts)


def _server_row(name: str, runs: Sequence[Run]) -> str:
    batch = median(run.mean_batch for run in runs)
    cells = [
        name,
        f"{median(run.load.requests_per_s for run in runs):,.0f}",
        _milliseconds(median(run.load.p50_us for run in runs)),
        _milliseconds(median(run.load.p99_us for run in runs)),
        f"{median(run.cpu_us_per_request for run in runs):,.0f} us",
        f"{batch:.1f}" if batch else "",
        f"{runs[0].rss_before_bytes / MEGABYTE:.0f}, {runs[-1].rss_after_bytes / MEGABYTE:.0f} MB",
    ]
    return f"| {' | '.join(cells)} |"


def _in_process_table(result: CaseResult) -> str:
    rows = []
    beside = [beside.in_process for beside in result.beside]
    for runs in filter(None, (result.in_process_single, result.in_process_batch, beside)):
        sizes = sorted({run.batch_size for run in runs})
        batch = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        pace = "side by side" if runs[0].interval_us else "alone"
        cpu_us = median(run.cpu_us_per_inference for run in runs)
        wall = _milliseconds(median(run.median_us for run in runs))
        rows.append(f"| batch {batch}, {pace} | {wall} | {cpu_us:,.0f} us |")
    rows = list(dict.fromkeys(rows))  # one row less where the daemon formed batches of one
    return "\n".join(["| in process | median per batch | CPU per inference |", "| --- | ---: | ---: |", *rows])


def _milliseconds(microseconds: float) -> str:
    return f"{microseconds / 1000:.2f} ms"


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()
