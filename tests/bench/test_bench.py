"""scripts/bench against the real daemon: it must run from one command and report numbers. It judges no speed."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.rpc.native_tests import needs_extension

ROOT = Path(__file__).resolve().parents[2]
CASE = "identity-tiny-c1"
MANY = "identity-tiny-c16"
SERVERS = ("daemon, native", "daemon, grpcio", "tritonserver", "native echo", "echo")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="perf_analyzer exists for Linux x86-64 only"
    ),
]


@needs_extension
def test_one_quick_case_is_measured_and_reported(tmp_path):
    readings, report = tmp_path / "readings.json", tmp_path / "report.md"

    command = [ROOT / "scripts" / "bench", "--quick", "--only", CASE, "--json", readings, "--out", report]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert result.returncode == 0, result.stderr
    (case,), text = json.loads(readings.read_text())["load"]["cases"], report.read_text()
    for server in SERVERS:
        (run,) = case["servers"][server]
        assert run["requests"] > 0
        assert run["cpu_us_per_request"] > 0
        assert 0 < run["load"]["p50_us"] <= run["load"]["p99_us"]
        assert run["load"]["requests_per_s"] > 0
        assert f"| {server} | " in text
    assert case["servers"]["daemon, grpcio"][0]["mean_batch"] >= 1
    assert f"| {CASE} | grpcio: CPU per request / bare gRPC echo |" in text


@needs_extension
def test_the_threads_of_the_daemon_are_measured_and_reported(tmp_path):
    readings, report = tmp_path / "readings.json", tmp_path / "report.md"

    command = [
        ROOT / "scripts" / "bench",
        "--quick",
        "--threads",
        "--only",
        MANY,
        "--json",
        readings,
        "--out",
        report,
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert result.returncode == 0, result.stderr
    (case,) = json.loads(readings.read_text())["threads"]["cases"]
    assert case["by_thread_us"]["event loop"] > 0
    assert case["by_thread_us"]["I/O threads"] > 0
    assert f"| {MANY} | " in report.read_text()


@needs_extension
def test_the_extension_and_every_way_of_handing_over_are_reported(tmp_path):
    readings, report = tmp_path / "readings.json", tmp_path / "report.md"

    command = [ROOT / "scripts" / "bench", "--quick", "--native", "--json", readings, "--out", report]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert result.returncode == 0, result.stderr
    native, text = json.loads(readings.read_text())["native"], report.read_text()
    assert set(native["runs"]) == {"loop", "thread", "worker", "back"}
    for runs in native["runs"].values():
        assert all(run["requests"] > 0 for (run,) in runs.values())
    assert f"| gRPC core | {native['extension']['core_version']} of " in text
    assert "| shared libraries, by ldd | " in text


def test_an_unknown_case_is_a_usage_error_that_names_the_cases():
    result = subprocess.run(
        [ROOT / "scripts" / "bench", "--only", "nonsense"], capture_output=True, text=True, check=False
    )

    assert result.returncode == 2
    assert CASE in result.stderr
