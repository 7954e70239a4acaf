"""Measures cases: daemon and peers in turn under the same load, round by round.

CPU time is the kernel's count for the server's process over one whole run, divided by the requests that the server
counted in that run, so neither warm-up nor the load generator's windows enter it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import Failed
from benchmark import peers
from benchmark.cases import Case
from benchmark.load_generator import WINDOWS, Load, LoadGenerator
from benchmark.server_process import ServerProcess

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure."""

    rounds: int
    window_s: float  # a run is three windows
    warm_up_window_s: float
    in_process_s: float


FULL = Effort(rounds=3, window_s=2.0, warm_up_window_s=0.5, in_process_s=2.0)
QUICK = Effort(rounds=1, window_s=0.5, warm_up_window_s=0.5, in_process_s=0.3)  # a busy machine needs that


@dataclass(frozen=True, slots=True)
class Run:
    """One server under one load."""

    load: Load
    requests: int
    cpu_us_per_request: float
    mean_batch: float  # rows per execution; 0 where nothing is executed
    rss_before_bytes: int
    rss_after_bytes: int


@dataclass(frozen=True, slots=True)
class Beside:
    """The daemon's two parts, apart but at the same time and at its pace: computing, and answering over gRPC.

    Both share the machine with the load generator and find their caches as cool as the daemon does.
    """

    in_process: peers.InProcess
    echo: Run


@dataclass(frozen=True, slots=True)
class CaseResult:
    """All rounds of one case; the lists run in parallel, one entry per round."""

    case: str
    servers: dict[str, list[Run]]
    in_process_single: list[peers.InProcess]
    in_process_batch: list[peers.InProcess]  # at the batch size that formed in the daemon
    beside: list[Beside]


class Bench:
    """Measures cases against servers that run all the time: the daemon on each transport, and Triton's."""

    def __init__(
        self, generator: LoadGenerator, lasting: Sequence[ServerProcess], models: Path, effort: Effort, say: Say
    ) -> None:
        self._generator = generator
        self._lasting = lasting
        self._models = models
        self._effort = effort
        self._say = say

    def measure(self, case: Case) -> CaseResult:
        """Measure one case with its peers."""
        with ExitStack() as running:
            servers = [*self._lasting]
            servers += [running.enter_context(echo(case.model)) for echo in (peers.echo, peers.native_echo)]
            if case.protobuf_echo:
                servers.append(running.enter_context(peers.objects_echo(case.model)))
                servers.append(running.enter_context(peers.warm_objects_echo(case.model)))
            for server in servers:
                self._warm_up(server, case)
            result = CaseResult(case.name, {server.name: [] for server in servers}, [], [], [])
            for number in range(self._effort.rounds):
                self._round(case, servers, number, result)
            return result

    def _warm_up(self, server: ServerProcess, case: Case) -> None:
        self._say(f"{case.name}: warm-up of {server.name}")
        self._generator.run(server.address, case.model.name, case.concurrency, self._effort.warm_up_window_s)

    def _round(self, case: Case, servers: list[ServerProcess], number: int, result: CaseResult) -> None:
        first = number % len(servers)  # nobody is always first, or always after the same neighbour
        for server in [*servers[first:], *servers[:first]]:
            run = run_once(self._generator, server, case, self._effort)
            result.servers[server.name].append(run)
            self._say(f"{case.name}: round {number + 1}/{self._effort.rounds}, {server.name}: {summary(run)}")
        self._run_in_process(case, result)

    def _run_in_process(self, case: Case, result: CaseResult) -> None:
        model_file = case.model.file_in(self._models)
        daemon, seconds = result.servers[peers.DAEMON][-1], self._effort.in_process_s
        formed = max(1, round(daemon.mean_batch))
        single = peers.in_process(model_file, 1, seconds)
        batch = single if formed == 1 else peers.in_process(model_file, formed, seconds)
        result.in_process_single.append(single)
        result.in_process_batch.append(batch)
        if case.computes:
            result.beside.append(self._run_beside(case, formed, formed / daemon.load.requests_per_s))
        self._say(f"{case.name}: in process, batch {formed}: {batch.cpu_us_per_inference:.0f} us CPU per inference")

    def _run_beside(self, case: Case, formed: int, interval_s: float) -> Beside:
        model_file, seconds = case.model.file_in(self._models), WINDOWS * self._effort.window_s
        with peers.paced_echo(case.model, formed, interval_s) as echo, ThreadPoolExecutor(1) as pool:
            self._warm_up(echo, case)
            computing = pool.submit(peers.in_process, model_file, formed, seconds, interval_s)
            run = run_once(self._generator, echo, case, self._effort)
            result = Beside(computing.result(), run)
        self._say(
            f"{case.name}: side by side: {result.in_process.cpu_us_per_inference:.0f} us in process, {summary(run)}"
        )
        return result


def run_once(generator: LoadGenerator, server: ServerProcess, case: Case, effort: Effort) -> Run:
    """Load one server for three windows. Raises Failed if it counted nothing."""
    rss_before_bytes = server.rss_bytes()
    before = server.counts(case.model.name)
    cpu_s = server.cpu_s()
    load = generator.run(server.address, case.model.name, case.concurrency, effort.window_s)
    cpu_s = server.cpu_s() - cpu_s
    after = server.counts(case.model.name)
    requests, executions = after.requests - before.requests, after.executions - before.executions
    if requests <= 0:
        raise Failed(f"{server.name} counted no request for {case.model.name}", hint="look at ModelStatistics")
    return Run(
        load=load,
        requests=requests,
        cpu_us_per_request=cpu_s / requests * 1e6,
        mean_batch=(after.inferences - before.inferences) / executions if executions else 0.0,
        rss_before_bytes=rss_before_bytes,
        rss_after_bytes=server.rss_bytes(),
    )


def summary(run: Run) -> str:
    """Say the most important of it."""
    load = run.load
    return (
        f"{load.requests_per_s:.0f} req/s, p50 {load.p50_us:.0f} us, {run.cpu_us_per_request:.0f} us CPU per request"
    )
