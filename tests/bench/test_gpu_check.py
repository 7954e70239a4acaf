"""scripts/gpu-check, really run: what it can do without a GPU, and that it says honestly what it did not."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import psutil
import pytest

from appliance.backends.tensorrt.flavour import installed_flavours
from tests.cli.conftest import short_directory
from tests.support.broken_packages import CRASH, write_package

ROOT = Path(__file__).resolve().parents[2]
NEED_A_GPU = {
    "computed by",
    "golden samples",
    "latency added at concurrency 1",
    "served at concurrency 32, of the bare engine",
    "GPU memory returned",
    "warm start",
    "tests marked gpu",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU: run scripts/gpu-check itself"),
    pytest.mark.skipif(not installed_flavours(), reason="TensorRT-RTX is not installed"),
]


def gpu_check(
    folder: Path, *words: str | Path, python: str | Path = sys.executable, python_path: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run it with an interpreter as it is, from a folder that is not the source tree."""
    command = [ROOT / "scripts" / "gpu-check", "--python", python, "--quick", *words]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if python_path is not None:
        environment["PYTHONPATH"] = str(python_path)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def report_in(folder: Path) -> Any:
    return json.loads((folder / "gpu-check.json").read_text())


def results(document: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in document["findings"]:
        found.setdefault(finding["check"], set()).add(finding["result"])
    return found


def test_without_a_gpu_engines_are_built_and_cached_and_the_rest_is_named(tmp_path: Path) -> None:
    result = gpu_check(tmp_path, "--allow-no-gpu")

    assert result.returncode == 0, result.stdout + result.stderr
    document = report_in(tmp_path)
    found = results(document)
    assert found["engine built"] == found["engine found in the cache"] == {"passed"}
    assert {finding["subject"] for finding in document["findings"] if finding["check"] == "engine built"} == {
        "digits",
        "cnn",
    }
    for check in NEED_A_GPU:
        assert found[check] == {"not run"}, check
        assert check in result.stdout
    assert "no GPU: not run: " in result.stdout
    assert "| engine built | digits | " in result.stdout
    assert not document["gpu"]
    assert document["versions"]["appliance"]
    assert document["probe"]["paths"][2]["usable"]


def test_without_permission_a_machine_without_a_gpu_is_exit_status_three(tmp_path: Path) -> None:
    result = gpu_check(tmp_path)

    assert result.returncode == 3, result.stdout + result.stderr
    assert report_in(tmp_path)["exit_status"] == 3


def test_a_package_of_the_user_is_built_too_and_one_that_cannot_be_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "models" / "broken" / "1").mkdir(parents=True)
    (tmp_path / "models" / "broken" / "1" / "model.onnx").write_bytes(b"this is no model")

    result = gpu_check(tmp_path, "--allow-no-gpu", "--models", tmp_path / "models")

    assert result.returncode == 1
    findings = report_in(tmp_path)["findings"]
    outcome = {finding["subject"]: finding for finding in findings if finding["check"] == "engine built"}
    assert outcome["digits"]["result"] == "passed"
    assert outcome["broken"]["result"] == "FAILED"
    assert outcome["broken"]["detail"]


def test_a_rehearsal_serves_and_measures_on_the_cpu(tmp_path: Path) -> None:
    result = gpu_check(tmp_path, "--allow-no-gpu", "--rehearse")

    document = report_in(tmp_path)
    assert document["rehearsal"], result.stderr
    found = results(document)
    assert "passed" in found["golden samples"]
    for check in ("latency added at concurrency 1", "served at concurrency 32, of the bare engine"):
        assert found[check] == {"measured"}, result.stdout
    assert found["warm start"]
    assert found["resident memory returned"]
    assert found["GPU memory returned"] == {"not run"}
    assert "rehearsal on the CPU" in result.stdout


def test_a_tensorrt_that_crashes_fails_the_builds_and_nothing_else(tmp_path: Path) -> None:
    broken = write_package(tmp_path / "site", "tensorrt_rtx", CRASH)

    result = gpu_check(tmp_path, "--allow-no-gpu", python_path=broken)

    document = report_in(tmp_path)
    (flavour,) = (each for each in document["probe"]["tensorrt"] if each["flavour"] == "tensorrt-rtx")
    assert "SIGSEGV" in flavour["loads"]["detail"]
    assert result.returncode == 1
    assert document["probe"]["paths"][2]["usable"]


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="there is no interpreter without the packages")
def test_packages_that_were_only_unpacked_are_enough(tmp_path: Path) -> None:
    bare_interpreter = Path(sys.base_prefix) / "bin" / "python3"
    site_packages = Path(sysconfig.get_path("purelib"))

    result = gpu_check(tmp_path, "--allow-no-gpu", python=bare_interpreter, python_path=site_packages)

    assert result.returncode == 0, result.stdout + result.stderr
    assert results(report_in(tmp_path))["engine built"] == {"passed"}


def test_nothing_is_left_behind_when_it_is_terminated(tmp_path: Path) -> None:
    command = [ROOT / "scripts" / "gpu-check", "--python", sys.executable, "--rehearse", "--quick"]
    with (
        short_directory() as scratch,
        subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"TMPDIR": str(scratch)}, stderr=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stderr is not None
        measuring = any("cycles" in line for line in process.stderr)
        started = psutil.Process(process.pid).children(recursive=True)

        process.terminate()
        code = process.wait(60)

        assert measuring
        assert started
        assert code == 128 + signal.SIGTERM
        assert not any(child.is_running() for child in started)
        assert list(scratch.iterdir()) == []
        assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    result = gpu_check(tmp_path, "--json", tmp_path / "none" / "report.json")

    assert result.returncode == 1
    assert "none/report.json" in result.stderr
    assert "probing" not in result.stderr


def test_an_interpreter_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    result = subprocess.run(
        [ROOT / "scripts" / "gpu-check", "--python", "/bin/false"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 2
    assert "/bin/false is not Python 3.11 or newer" in result.stderr
