"""The command: scripts/gpu-check [--python PYTHON] [--models DIR] [--allow-no-gpu] [--rehearse] [--quick]."""

import argparse
import os
import platform
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from benchmark.document import update_document
from benchmark.installation import BINARY, install
from benchmark.load_generator import LoadGenerator

from appliance.backends.probe import ProbeReport, probe
from appliance.cli.backends import probe_document
from appliance.errors import ApplianceError
from gpu_check.carried import installed_for_now
from gpu_check.check_run import CheckRun, Effort
from gpu_check.finding import Result
from gpu_check.report import benchmark_section, markdown, write_json
from gpu_check.throughput import Generator
from gpu_check.versions import versions

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build" / "perf_analyzer"
NO_GPU = 3
FULL = Effort(load_s=9.0, cycles=100, large=True)
QUICK = Effort(load_s=1.5, cycles=5, large=False)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/gpu-check",
        description="Verify on this device what the appliance promises of GPUs: versions, what the box can run, "
        "engines built and cached, golden samples, throughput against the bare engine, warm start, memory returned "
        "and the tests that need a GPU. Prints a table and writes it as JSON.",
        epilog="Exit status: 0 all passed, 1 something failed, 2 wrong usage, 3 no GPU (0 with --allow-no-gpu). "
        "Also: --python PYTHON runs it with that interpreter as it is, without .venv, pip or network; the wheels "
        "must be installed in it.",
    )
    parser.add_argument("--models", type=Path, action="append", default=[], metavar="DIR",
                        help="check the packages in this directory, too (may be repeated)")  # fmt: skip
    parser.add_argument("--allow-no-gpu", action="store_true", help="exit status 0 without a GPU, if nothing failed")
    parser.add_argument("--compute-capability", default="8.9", metavar="X.Y",
                        help="build for this one where there is no GPU (default 8.9)")  # fmt: skip
    parser.add_argument("--rehearse", action="store_true",
                        help="without a GPU: do golden samples, throughput, start and memory on the CPU, to try out "
                        "this check itself")  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="small models and short windows: a try-out, not a result"
    )
    parser.add_argument("--json", type=Path, default=Path("gpu-check.json"), metavar="FILE",
                        help="where to write the report (default gpu-check.json)")  # fmt: skip
    parser.add_argument("--document", type=Path, metavar="FILE",
                        help="put the result into this document too, as a section of BENCHMARKS.md")  # fmt: skip
    parser.add_argument("--as-it-is", action="store_true", help=argparse.SUPPRESS)  # said by --python
    return parser.parse_args()


def say(text: str) -> None:
    print(f"gpu-check: {text}", file=sys.stderr, flush=True)


def load_generator(*, as_it_is: bool) -> LoadGenerator | None:
    """Triton's own where it is at hand or can be fetched."""
    if as_it_is and not (TOOLS / BINARY).exists():
        return None
    try:
        return LoadGenerator(install(TOOLS, say))
    except ApplianceError as error:
        say(f"perf_analyzer cannot be had, so clients in Python make the load: {error.message}")
        return None


def check(arguments: argparse.Namespace) -> int:
    effort = QUICK if arguments.quick else FULL
    started_s = time.time()
    say("probing")
    report = probe()
    on_gpu = bool(report.gpus)
    generator = load_generator(as_it_is=arguments.as_it_is) if on_gpu or arguments.rehearse else None
    with TemporaryDirectory(prefix="gpu-check-") as folder:
        run = CheckRun(report, Path(folder), ROOT, effort, Generator(generator, effort.load_s), say)
        run.check_paths()
        run.check_engines(arguments.models, arguments.compute_capability)
        run.check_serving(arguments.models, rehearse=arguments.rehearse)
        run.check_tests()
    status = exit_status(run, report, allow_no_gpu=arguments.allow_no_gpu)
    facts = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_s)),
        "seconds": round(time.time() - started_s, 1),
        "machine": platform.machine(),
        "gpu": on_gpu,
        "rehearsal": arguments.rehearse and not on_gpu,
        "quick": arguments.quick,
        "versions": versions(report),
        "probe": probe_document(report),
    }
    print(markdown(title(report, arguments), run.findings))
    if arguments.document:
        update_document(arguments.document, "gpu", benchmark_section(run.findings, facts))
    print("\n" + "\n".join(f"- {name}: {version}" for name, version in facts["versions"].items()))
    write_json(arguments.json, facts, run.findings, status)
    say(f"wrote {arguments.json}; exit status {status}")
    return status


def title(report: ProbeReport, arguments: argparse.Namespace) -> str:
    what = report.gpus[0].name if report.gpus else "no GPU"
    notes = [
        *(["quick: a try-out, not a result"] if arguments.quick else []),
        *(["rehearsal on the CPU"] if arguments.rehearse and not report.gpus else []),
    ]
    return f"gpu-check: {'; '.join([what, *notes])}"


def exit_status(run: CheckRun, report: ProbeReport, *, allow_no_gpu: bool) -> int:
    if any(finding.result is Result.FAILED for finding in run.findings):
        return 1
    return 0 if report.gpus or allow_no_gpu else NO_GPU


def _stop(number: int, _frame: object) -> NoReturn:
    """End as by Ctrl-C, so that the daemon and every other process ends, too."""
    raise SystemExit(128 + number)


def main() -> int:
    # Children work in folders of their own: what the interpreter was told relative to this one must hold there.
    given = _given_path()
    os.environ["PYTHONPATH"] = os.pathsep.join(map(str, [ROOT, ROOT / "scripts", *given]))
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    signal.signal(signal.SIGTERM, _stop)
    try:
        arguments = parse_arguments()
        _check_writable(arguments.json)
        with installed_for_now(given if arguments.as_it_is else ()):
            return check(arguments)
    except (ApplianceError, OSError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped; no report was written")
        return 130


def _given_path() -> list[Path]:
    """PYTHONPATH, but for the folders of this source tree."""
    entries = [Path(entry).absolute() for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return [entry for entry in entries if entry not in (ROOT, ROOT / "scripts")]


def _check_writable(report: Path) -> None:
    """Not only when all the work is done. Raises OSError."""
    trial = report.with_name(f"{report.name}.unfinished")
    trial.touch()
    trial.unlink()


if __name__ == "__main__":
    sys.exit(main())
