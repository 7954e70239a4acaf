"""The command: scripts/bench, which says with --help what it takes."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from appliance.errors import ApplianceError
from benchmark import extension_build, goals, handover, long_soak, measure, peers, report, soak, threads
from benchmark.cases import CASES, Case, write_repository
from benchmark.document import update_document
from benchmark.extension import required_extension
from benchmark.installation import install
from benchmark.load_generator import LoadGenerator
from benchmark.server_process import ServerProcess
from benchmark.triton import install_triton, tritonserver, write_triton_repository

ROOT = Path(__file__).resolve().parents[2]
TRITON_TOOLS = ROOT / "build" / "tritonserver"
TOOLS = ROOT / "build" / "perf_analyzer"
DOCUMENT = ROOT / "BENCHMARKS.md"
SHIPPED_MODELS = ROOT / "models"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Drive the daemon and its peers with Triton's load generator, and write BENCHMARKS.md.",
        epilog="With --quick or --only the report is printed and BENCHMARKS.md left alone, unless --out is given.",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--soak", action="store_true", help="memory over many requests and reloads, and cold start")
    kind.add_argument("--threads", action="store_true", help="which threads of the daemon a request costs")
    kind.add_argument("--native", action="store_true", help="the native transport's extension, and how it hands over")
    kind.add_argument("--all", action="store_true", help="the load cases, the threads, the extension, then the soak")
    long = "with --soak: instead of it a long one of the native transport, of so many requests, and the sanitizers"
    parser.add_argument("--requests", type=int, metavar="N", help=long)
    parser.add_argument("--quick", action="store_true", help="one round of short windows: a try-out, not a result")
    names = [case.name for case in CASES]
    only = "this case only (may be repeated)"
    parser.add_argument("--only", choices=names, metavar="CASE", action="append", help=f"{only}: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, help=f"rounds of every case (default {measure.FULL.rounds})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all readings as JSON, too")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the report to FILE")
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("--rounds: expected 1 or more")
    if arguments.requests is not None and not (arguments.soak and arguments.requests >= long_soak.FEWEST_REQUESTS):
        parser.error(f"--requests: goes with --soak, expected {long_soak.FEWEST_REQUESTS} or more")
    return arguments


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run_load(generator: LoadGenerator, cases: Sequence[Case], effort: measure.Effort) -> list[measure.CaseResult]:
    with TemporaryDirectory(prefix="bench-") as folder:
        models = Path(folder) / "models"
        say("making the models")
        # All of them, whatever is measured: what a process has loaded shapes its memory allocator.
        write_repository(models, [case.model for case in CASES])
        say("starting the servers")
        with ExitStack() as running:
            lasting = [running.enter_context(server) for server in lasting_servers(Path(folder), models)]
            bench = measure.Bench(generator, lasting, models, effort, say)
            return [bench.measure(case) for case in cases]


def lasting_servers(folder: Path, models: Path) -> list[ServerProcess]:
    repository = folder / "triton"
    write_triton_repository(repository, [case.model for case in CASES])
    return [
        peers.daemon(models, folder / "n", "native", peers.NATIVE),
        peers.daemon(models, folder / "g", "grpcio", peers.DAEMON),
        tritonserver(install_triton(TRITON_TOOLS, say), repository),
    ]


def chosen(arguments: argparse.Namespace) -> list[Case]:
    return [case for case in CASES if not arguments.only or case.name in arguments.only]


def effort_of(arguments: argparse.Namespace) -> measure.Effort:
    effort = measure.QUICK if arguments.quick else measure.FULL
    return dataclasses.replace(effort, rounds=arguments.rounds or effort.rounds)


def load_section(arguments: argparse.Namespace, generator: LoadGenerator, readings: dict[str, Any]) -> str:
    cases = chosen(arguments)
    effort = effort_of(arguments)
    machine = report.Machine.of_this_moment()
    results = run_load(generator, cases, effort)
    judged = goals.judge(results)
    readings[report.LOAD] = {"machine": machine, "effort": effort, "cases": results, "goals": judged}
    return report.load_section(machine, effort, cases, results, judged)


def soak_section(arguments: argparse.Namespace, generator: LoadGenerator, readings: dict[str, Any]) -> str:
    machine = report.Machine.of_this_moment()
    result = soak.soak(generator, SHIPPED_MODELS, soak.QUICK if arguments.quick else soak.FULL, say)
    judged = soak.judge(result)
    readings[report.SOAK] = {"machine": machine, "result": result, "goals": judged}
    return report.soak_section(machine, result, judged)


def long_soak_section(arguments: argparse.Namespace, readings: dict[str, Any]) -> str:
    required_extension()
    machine = report.Machine.of_this_moment()
    result = long_soak.long_soak(arguments.requests, say)
    sanitizers = "not run (--quick)" if arguments.quick else long_soak.run_sanitizers(say)
    judged = long_soak.judge(result)
    readings[report.LONG_SOAK] = {"machine": machine, "result": result, "sanitizers": sanitizers, "goals": judged}
    return long_soak.long_soak_section(machine, result, judged, sanitizers)


def threads_section(arguments: argparse.Namespace, generator: LoadGenerator, readings: dict[str, Any]) -> str:
    machine = report.Machine.of_this_moment()
    effort = effort_of(arguments)
    results = threads.measure_threads(generator, chosen(arguments), effort, say)
    readings[report.THREADS] = {"machine": machine, "cases": results}
    return threads.threads_section(machine.sentence(), results)


def native_section(arguments: argparse.Namespace, generator: LoadGenerator, readings: dict[str, Any]) -> str:
    machine, extension = report.Machine.of_this_moment(), required_extension()
    effort = effort_of(arguments)
    runs = handover.measure_handover(generator, effort, say)
    build = extension_build.noted_build(extension)
    if not build:
        build = "not measured (--quick)" if arguments.quick else extension_build.timed_build()
    readings[report.NATIVE] = {"machine": machine, "extension": extension, "build": build, "runs": runs}
    return handover.native_section(machine.sentence(), extension, build, effort, runs)


def measured_sections(arguments: argparse.Namespace, readings: dict[str, Any]) -> dict[str, str]:
    if arguments.requests is not None:
        return {report.LONG_SOAK: long_soak_section(arguments, readings)}
    generator = LoadGenerator(install(TOOLS, say))
    sections = {}
    if not (arguments.soak or arguments.threads or arguments.native):
        sections[report.LOAD] = load_section(arguments, generator, readings)
    if arguments.threads or arguments.all:
        sections[report.THREADS] = threads_section(arguments, generator, readings)
    if arguments.native or arguments.all:
        sections[report.NATIVE] = native_section(arguments, generator, readings)
    if arguments.soak or arguments.all:
        sections[report.SOAK] = soak_section(arguments, generator, readings)
    return sections


def bench(arguments: argparse.Namespace) -> None:
    document = arguments.out or (None if arguments.quick or arguments.only else DOCUMENT)
    readings: dict[str, Any] = {}
    sections = measured_sections(arguments, readings)
    for name, section in sections.items():
        if document is None:
            print(section)
        else:
            update_document(document, name, section)
            say(f"wrote the {name} section of {document}")
    if arguments.json:
        arguments.json.write_text(json.dumps(readings, default=plain, indent=2) + "\n")
        say(f"wrote {arguments.json}")


def plain(reading: Any) -> Any:
    return str(reading) if isinstance(reading, Path) else dataclasses.asdict(reading)


def main() -> int:
    try:
        bench(parse_arguments())
    except ApplianceError as error:
        say(error.message)
        if error.hint:
            say(f"next: {error.hint}")
        return 1
    except KeyboardInterrupt:
        say("stopped; nothing was written")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
