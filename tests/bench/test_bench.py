"""scripts/bench against the real daemon: it must run from one command and report numbers. It judges no speed."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASE = "identity-tiny-c1"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="perf_analyzer exists for Linux x86-64 only"
    ),
]


def test_one_quick_case_is_measured_and_reported(tmp_path):
    readings, report = tmp_path / "readings.json", tmp_path / "report.md"

    command = [ROOT / "scripts" / "bench", "--quick", "--only", CASE, "--json", readings, "--out", report]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert result.returncode == 0, result.stderr
    (case,) = json.loads(readings.read_text())["load"]["cases"]
    for server in ("daemon", "echo"):
        (run,) = case["servers"][server]
        assert run["requests"] > 0
        assert run["cpu_us_per_request"] > 0
        assert 0 < run["load"]["p50_us"] <= run["load"]["p99_us"]
        assert run["load"]["requests_per_s"] > 0
    assert case["servers"]["daemon"][0]["mean_batch"] >= 1
    text = report.read_text()
    assert f"| {CASE} | CPU per request / bare gRPC echo |" in text
    assert "| daemon | " in text
    assert "| echo | " in text


def test_an_unknown_case_is_a_usage_error_that_names_the_cases():
    result = subprocess.run(
        [ROOT / "scripts" / "bench", "--only", "nonsense"], capture_output=True, text=True, check=False
    )

    assert result.returncode == 2
    assert CASE in result.stderr
