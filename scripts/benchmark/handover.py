"""How the native transport hands over requests and answers, measured both ways and more.

The native echo does it in each way: the extension is the daemon's, so are event loop and threads, and beyond handing
over nothing is done. What differs between the ways is what handing over costs.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median

from benchmark import peers
from benchmark.cases import IDENTITY_TINY, Case
from benchmark.extension import Extension
from benchmark.load_generator import LoadGenerator
from benchmark.measure import Effort, Run, Say, run_once, summary

WAYS = {
    "loop": "the event loop, woken by the eventfd for a bunch, takes and answers: the daemon with what is computed "
    "at once",
    "thread": "a worker thread waits for the eventfd itself, takes and answers: straight into the worker, the "
    "event loop has no part in it",
    "worker": "the event loop takes a bunch and hands it to a worker thread, which answers: the daemon with what an "
    "instance computes (D52)",
    "back": "the worker thread hands the bunch back, with one wake-up of the event loop, which answers: the daemon "
    "while more waits for the instance",
}
CONCURRENCIES = (1, 16)

Runs = dict[str, dict[int, list[Run]]]  # by way and concurrency, one for each round


def measure_handover(generator: LoadGenerator, effort: Effort, say: Say) -> Runs:
    """Measure every way, in turn, round by round."""
    runs: Runs = {way: {concurrency: [] for concurrency in CONCURRENCIES} for way in WAYS}
    with ExitStack() as running:
        servers = [running.enter_context(peers.native_echo(IDENTITY_TINY, way, way)) for way in WAYS]
        for concurrency in CONCURRENCIES:
            case = Case(f"handover-c{concurrency}", "", IDENTITY_TINY, concurrency)
            for server in servers:
                generator.run(server.address, IDENTITY_TINY.name, concurrency, effort.warm_up_window_s)
            for number in range(effort.rounds):
                first = number % len(servers)
                for server in [*servers[first:], *servers[:first]]:
                    run = run_once(generator, server, case, effort)
                    runs[server.name][concurrency].append(run)
                    say(f"{case.name}: round {number + 1}/{effort.rounds}, {server.name}: {summary(run)}")
    return runs


def native_section(sentence: str, extension: Extension, build: str, effort: Effort, runs: Runs) -> str:
    """Render what the extension is, and how it hands over. sentence: on which machine; build: how long it took."""
    method = (
        f"The native echo with identity FP32 [16], one I/O thread, rounds: {effort.rounds}, each 3 x "
        f"{effort.window_s:g} s, the ways in turn; medians. Who takes what has come, and who answers:"
    )
    ways = "\n".join(f"* **{way}**: {described}" for way, described in WAYS.items())
    parts = ["## Native transport", sentence, _extension_table(extension, build)]
    return "\n\n".join([*parts, "### How answers are handed over", method, ways, _handover_table(runs)])


def _extension_table(extension: Extension, build: str) -> str:
    libraries = f"{len(extension.libraries)}: {', '.join(extension.libraries)}"
    rows = [
        ("size, as installed", f"{extension.size_bytes / 1e6:.2f} MB{'' if extension.has_symbols else ', stripped'}"),
        ("gRPC core", extension.core),
        ("shared libraries, by ldd", libraries),
        ("build", build),
    ]
    return "\n".join(["| extension | |", "| --- | --- |", *(f"| {name} | {found} |" for name, found in rows)])


def _handover_table(runs: Runs) -> str:
    columns = [
        f"{name}, concurrency {concurrency}"
        for concurrency in CONCURRENCIES
        for name in ("req/s", "p50", "CPU per request")
    ]
    rows = [
        f"| {way} | {' | '.join(cell for concurrency in CONCURRENCIES for cell in _cells(found[concurrency]))} |"
        for way, found in runs.items()
    ]
    return "\n".join([f"| way | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}", *rows])


def _cells(runs: Sequence[Run]) -> list[str]:
    return [
        f"{median(run.load.requests_per_s for run in runs):,.0f}",
        f"{median(run.load.p50_us for run in runs):,.0f} us",
        f"{median(run.cpu_us_per_request for run in runs):,.1f} us",
    ]
