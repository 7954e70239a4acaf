"""Which threads of the daemon on the native transport a request costs, and what more cores could do with that.

I/O threads never hold the interpreter's lock. The event loop and the threads of instances do, except inside the
runtime; the latter join, split and, under D52, answer. How long is not measured but bounded: what these threads cost,
less what the runtime costs at the least, which is that of the same batches in a process that does nothing else. There
calling it at all, which is done under the lock, is measured by a model that computes nothing, and left out.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark import peers
from benchmark.cases import CASES, IDENTITY_TINY, Case, write_repository
from benchmark.load_generator import LoadGenerator
from benchmark.many_cores import Costs
from benchmark.measure import Effort, Say
from benchmark.server_process import ServerProcess

LOOP, IO, OTHERS = "event loop", "I/O threads", "instances and all else"
_IO_THREAD = "grpc-io"  # as the extension calls them
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
CORES = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class ThreadCosts:
    """CPU per request of one case, in us."""

    case: str
    requests_per_s: float
    mean_batch: float
    by_thread_us: dict[str, float]
    runtime_us: float  # inside the runtime, at the least

    @property
    def costs(self) -> Costs:
        """The same for the paper."""
        loop_us, io_us, others_us = (self.by_thread_us[name] for name in (LOOP, IO, OTHERS))
        return Costs(loop_us, io_us, others_us, self.runtime_us)


@dataclass(frozen=True, slots=True)
class Threads:
    """Measures the threads of one daemon on the native transport."""

    generator: LoadGenerator
    daemon: ServerProcess
    models: Path
    effort: Effort
    say: Say

    def measure(self, case: Case) -> ThreadCosts:
        """Measure one case."""
        model = case.model.name
        self.generator.run(self.daemon.address, model, case.concurrency, self.effort.warm_up_window_s)
        before, costs_s = self.daemon.counts(model), _by_thread_s(self.daemon.pid)
        load = self.generator.run(self.daemon.address, model, case.concurrency, self.effort.window_s)
        spent_s, after = _by_thread_s(self.daemon.pid), self.daemon.counts(model)
        requests = after.requests - before.requests
        costs = {name: (spent_s[name] - costs_s[name]) / requests * 1e6 for name in spent_s}
        mean_batch = (after.inferences - before.inferences) / (after.executions - before.executions)
        runtime_us = self._runtime_us(case, max(1, round(mean_batch)))
        listed = ", ".join(f"{name} {cost_us:.1f} us" for name, cost_us in costs.items())
        self.say(f"{case.name}: {listed}; runtime {runtime_us:.1f} us")
        return ThreadCosts(case.name, load.requests_per_s, mean_batch, costs, runtime_us)

    def _runtime_us(self, case: Case, batch_size: int) -> float:
        """Return the CPU per request inside the runtime, without calling it."""
        run = peers.in_process(case.model.file_in(self.models), batch_size, self.effort.in_process_s)
        call = peers.in_process(IDENTITY_TINY.file_in(self.models), 1, self.effort.in_process_s)
        return max(0.0, run.cpu_us_per_inference - call.cpu_us_per_inference / batch_size)


def measure_threads(generator: LoadGenerator, cases: Sequence[Case], effort: Effort, say: Say) -> list[ThreadCosts]:
    """Measure those of the cases that have more than one caller."""
    with TemporaryDirectory(prefix="bench-") as folder:
        models = Path(folder) / "models"
        write_repository(models, [case.model for case in CASES])
        with peers.daemon(models, Path(folder) / "n", "native", peers.NATIVE) as daemon:
            threads = Threads(generator, daemon, models, effort, say)
            return [threads.measure(case) for case in cases if case.concurrency > 1]


def _by_thread_s(pid: int) -> dict[str, float]:
    """Sum the CPU seconds of a process's threads by what they are."""
    spent_s = dict.fromkeys((LOOP, IO, OTHERS), 0.0)
    for thread, name, cpu_s in _threads(pid):
        spent_s[LOOP if thread == pid else IO if name == _IO_THREAD else OTHERS] += cpu_s
    return spent_s


def _threads(pid: int) -> Iterator[tuple[int, str, float]]:
    """Yield number, name and CPU seconds of each thread: proc(5), utime and stime of `stat`."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        head, _, fields = (task / "stat").read_text().rpartition(") ")
        user, system = fields.split()[11:13]
        yield int(task.name), head.partition("(")[2], (int(user) + int(system)) * _TICK_S


def threads_section(sentence: str, results: Sequence[ThreadCosts]) -> str:
    """Render the costs. sentence: on which machine."""
    explained = (
        "CPU per request by thread, daemon on the native transport, one instance. *Runtime*: of that, inside the "
        "runtime at the least: the same batches in a process of their own, less the call itself. *Serial*: what no "
        "two requests can have at a time, which is the event loop, or, where that is more, all of loop and instances "
        "but the runtime. That is an upper bound of the time under the interpreter's lock: in the daemon the caches "
        "are cooler and the runtime costs more, and not all that these threads do needs the lock."
    )
    parts = ["## Threads", sentence, explained, _costs_table(results)]
    return "\n\n".join([*parts, "### Many cores, on paper", _ON_PAPER, _paper_table(results)])


_ON_PAPER = """\
Computed, not measured: requests per second = min(1 / serial, cores / total) with the costs above. Assumed: the load
generator is elsewhere, a request costs what it costs here (batches as large as here, caches no better), the lock
changes hands at no cost and nobody waits while he could work, and there are as many instances and I/O threads as that
takes. One instance is one thread: with the single one that was measured, a model that computes gets no further than
1 / runtime. The last column says how many instances the last rate needs."""


def _costs_table(results: Sequence[ThreadCosts]) -> str:
    rows = [
        f"| {result.case} | {result.requests_per_s:,.0f} | {result.mean_batch:.1f} | "
        + " | ".join(f"{result.by_thread_us[name]:,.1f} us" for name in (LOOP, IO, OTHERS))
        + f" | {result.runtime_us:,.1f} us | {result.costs.serial_us:,.1f} us |"
        for result in results
    ]
    head = f"| case | req/s here | mean batch | {LOOP} | {IO} | {OTHERS} | runtime | serial |"
    return "\n".join([head, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", *rows])


def _paper_table(results: Sequence[ThreadCosts]) -> str:
    rows = [
        f"| {result.case} | "
        + " | ".join(f"{result.costs.requests_per_s(cores):,.0f}" for cores in CORES)
        + f" | {result.costs.instances(CORES[-1])} |"
        for result in results
    ]
    columns = [f"{cores} core{'s' if cores > 1 else ''}" for cores in CORES]
    head = f"| case | {' | '.join(columns)} | instances |"
    return "\n".join([head, f"| --- |{' ---: |' * (len(CORES) + 1)}", *rows])
