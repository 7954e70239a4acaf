"""The tests that need a GPU, run by pytest in a process of its own."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree as ET

from gpu_check.finding import Finding, failed, not_run, passed

GPU_TESTS = "tests marked gpu"
_TIMEOUT_S = 1800.0
_MARK = "pytest.mark.gpu"
_NAMED = 5


def check_gpu_tests(root: Path) -> Iterator[Finding]:
    """Run `pytest -m gpu`."""
    if importlib.util.find_spec("pytest") is None:
        yield not_run(GPU_TESTS, "tests", "pytest is not installed")
        return
    # Only files that have such a test: others may need packages that are not here.
    files = [file for file in sorted((root / "tests").rglob("test_*.py")) if _MARK in file.read_text()]
    if not files:
        yield not_run(GPU_TESTS, "tests", "no test has the mark gpu")
        return
    with TemporaryDirectory(prefix="gpu-check-") as folder:
        report = Path(folder) / "report.xml"
        try:
            words = _run(root, files, report)
        except subprocess.TimeoutExpired:
            yield failed(GPU_TESTS, "tests", f"pytest did not end within {_TIMEOUT_S:.0f} s")
            return
        if report.exists():
            yield from _judged(list(ET.parse(report).getroot().iter("testcase")))
        else:  # a crash of the driver took the process down
            yield failed(GPU_TESTS, "tests", f"pytest left no report; its last words: {words[-300:]}")


def _run(root: Path, files: Sequence[Path], report: Path) -> str:
    options = [
        "-m",
        "gpu",
        "-q",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        f"--junit-xml={report}",
    ]
    command = [sys.executable, "-m", "pytest", *options, *map(str, files)]
    child = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return (child.stderr.strip() or child.stdout.strip()) or f"exit status {child.returncode}"


def _judged(found: Sequence[ET.Element]) -> Iterator[Finding]:
    uncollected = [case.get("name", "?") for case in found if _is_uncollected(case)]
    if uncollected:
        yield not_run(GPU_TESTS, ", ".join(uncollected), "packages that these tests import are not installed")
    cases = [case for case in found if not _is_uncollected(case)]
    wrong = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    right = len(cases) - len(wrong) - len(skipped)
    counted = f"{right} of {len(cases)} passed, {len(skipped)} skipped"
    if wrong:
        names = ", ".join(case.get("name", "?") for case in wrong[:_NAMED])
        yield failed(GPU_TESTS, "tests", f"{len(wrong)} failed: {names}", found=counted, goal="all")
    elif right:
        yield passed(GPU_TESTS, "tests", counted, "all")
    else:
        yield not_run(GPU_TESTS, "tests", f"{len(skipped)} were skipped, none ran")


def _is_uncollected(case: ET.Element) -> bool:
    error = case.find("error")
    return error is not None and "collection failure" in error.get("message", "")
