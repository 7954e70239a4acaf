"""Which threads of the daemon on the native transport a request costs, and what more cores could do with that.

The event loop is one thread and holds the interpreter's lock: however many cores there are, it takes no more requests
than its time per request allows. I/O threads never hold the lock; those of instances hold it between executions.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark import peers
from benchmark.cases import CASES, Case, write_repository
from benchmark.load_generator import LoadGenerator
from benchmark.measure import Effort, Say
from benchmark.server_process import ServerProcess

LOOP, IO, OTHERS = "event loop", "I/O threads", "instances and all else"
_IO_THREAD = "grpc-io"  # as the extension calls them
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ThreadCosts:
    """CPU per request of one case, in us."""

    case: str
    requests_per_s: float
    by_thread_us: dict[str, float]

    @property
    def loop_limit_per_s(self) -> float:
        """Requests that one event loop could take if it had a core for itself."""
        return 1e6 / self.by_thread_us[LOOP]


def measure_threads(generator: LoadGenerator, cases: Sequence[Case], effort: Effort, say: Say) -> list[ThreadCosts]:
    """Measure those of the cases that have more than one caller."""
    with TemporaryDirectory(prefix="bench-") as folder:
        models = Path(folder) / "models"
        write_repository(models, [case.model for case in CASES])
        with peers.daemon(models, Path(folder) / "n", "native", peers.NATIVE) as daemon:
            return [_measure(generator, daemon, case, effort, say) for case in cases if case.concurrency > 1]


def _measure(generator: LoadGenerator, daemon: ServerProcess, case: Case, effort: Effort, say: Say) -> ThreadCosts:
    generator.run(daemon.address, case.model.name, case.concurrency, effort.warm_up_window_s)
    before, costs_s = daemon.counts(case.model.name), _by_thread_s(daemon.pid)
    load = generator.run(daemon.address, case.model.name, case.concurrency, effort.window_s)
    spent_s, after = _by_thread_s(daemon.pid), daemon.counts(case.model.name)
    requests = after.requests - before.requests
    costs = {name: (spent_s[name] - costs_s[name]) / requests * 1e6 for name in spent_s}
    say(f"{case.name}: " + ", ".join(f"{name} {cost_us:.1f} us" for name, cost_us in costs.items()))
    return ThreadCosts(case.name, load.requests_per_s, costs)


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
    rows = [
        f"| {result.case} | {result.requests_per_s:,.0f} | "
        + " | ".join(f"{result.by_thread_us[name]:,.1f} us" for name in (LOOP, IO, OTHERS))
        + f" | {result.loop_limit_per_s:,.0f}/s |"
        for result in results
    ]
    head = f"| case | req/s here | {LOOP} | {IO} | {OTHERS} | one loop on a core of its own |"
    explained = (
        "CPU per request by thread, daemon on the native transport. The event loop is one thread with the "
        "interpreter's lock: its limit is what more cores cannot raise. They take what the others cost, and the "
        "load generator, off its core. On paper, then: requests per second grow with the cores up to that limit."
    )
    return "\n\n".join(
        ["## Threads", sentence, explained, "\n".join([head, "| --- | ---: | ---: | ---: | ---: | ---: |", *rows])]
    )
