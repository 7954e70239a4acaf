"""Real daemons that really die while a model executes: the next one knows which, and does not go on like that."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from appliance.daemon.post_mortem import suspects_of
from appliance.model.identity import ModelName, ModelVersion
from appliance.serving.version_marks import LeftMarks, MarkedVersion, read_marks
from tests.cli.conftest import short_directory, write_package
from tests.cli.terminal import MODELS, Terminal, appliance
from tests.support.onnx_models import write_spinner

pytestmark = pytest.mark.slow
FOR_EVER = 10**15
SLOW = """
backend = "reference"
max_batch_size = 0
parameters = { delay_ms = "4000" }
input = [{ name = "INPUT0", data_type = "TYPE_INT64", dims = [1] }]
output = [{ name = "OUTPUT0", data_type = "TYPE_INT64", dims = [1] }]
"""
WATCHED = "[models]\nhung_after_s = 1\n"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Terminal]:
    """A box with a model that computes as long as it is told to, one that is slow, and one that is not."""
    write_spinner(tmp_path / "spinner" / "1" / "model.onnx")
    write_package(tmp_path / "slow", SLOW)
    with short_directory() as state:
        terminal = Terminal(state)
        for package in (tmp_path / "spinner", tmp_path / "slow", MODELS / "breast-cancer"):
            terminal.appliance("models", "add", package)
        for name in ("spinner", "breast-cancer"):
            terminal.appliance("models", "activate", name, "1")
        yield terminal


def infer(box: Terminal, name: str, trips: int) -> None:
    """Ask, and wait for the answer or for the end of the daemon."""
    with triton.InferenceServerClient(f"unix:{box.state}/run/appliance.sock") as client:
        tensor = triton.InferInput("INPUT0", [1], "INT64")
        tensor.set_data_from_numpy(np.array([trips], np.int64))
        try:
            client.infer(name, [tensor], client_timeout=60)
        except (triton.InferenceServerException, grpc.RpcError):
            return


def execute(box: Terminal, name: str, trips: int) -> None:
    """Begin an inference, and return when the instance executes it."""
    threading.Thread(target=infer, args=(box, name, trips), daemon=True).start()
    wait_until(lambda: name in executing(box))


def executing(box: Terminal) -> list[str]:
    return [marks.whose.name for marks in marks_of(box) if marks.executing and not marks.whose.loading]


def loading(box: Terminal) -> list[str]:
    return [marks.whose.name for marks in marks_of(box) if marks.executing and marks.whose.loading]


def marks_of(box: Terminal) -> list[LeftMarks]:
    written = (path for path in (box.state / "run" / "executing").iterdir() if path.suffix != ".tmp")
    return [read_marks(path) for path in written]


def wait_until(true: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def die(process: "subprocess.Popen[bytes]", kind: signal.Signals) -> None:
    process.send_signal(kind)
    assert process.wait(30) == -kind


def crashes(box: Terminal, code: int = 0) -> list[dict]:
    return box.appliance("status", "--json", code=code).json["crashes"]


def states(box: Terminal) -> dict[str, tuple[str, str]]:
    models = box.appliance("status", "--json").json["models"]
    return {model["name"]: (model["state"], model["reason"]) for model in models}


def test_the_third_segfault_within_an_hour_is_the_last_till_an_operator_says_so(box: Terminal) -> None:
    for number in range(3):
        with box.daemon() as process:
            assert states(box)["spinner"] == ("READY", "")
            assert [crash["count"] for crash in crashes(box)] == ([number] if number else [])
            execute(box, "spinner", FOR_EVER)
            die(process, signal.SIGSEGV)

    with box.daemon():
        log = (box.state / "daemon.log").read_text()
        assert "the last process ended, not in order, while spinner version 1 was executing" in log
        state, reason = states(box)["spinner"]
        assert state == "UNAVAILABLE"
        assert "was executing when the process ended, 3 times within an hour" in reason
        assert "appliance models activate spinner 1" in reason
        assert states(box)["breast-cancer"] == ("READY", "")
        (crash,) = crashes(box)
        assert (crash["name"], crash["version"], crash["count"], crash["hung"]) == ("spinner", "1", 3, 0)
        assert (crash["refused"], crash["beside"]) == (True, [])
        assert "not loaded any more" in " ".join(box.appliance("status").out.split())
        checks = {check["name"]: check for check in box.appliance("doctor", "--json", code=1).json}
        assert checks["crashes"]["result"] == "error"
        assert "appliance models activate spinner 1" in checks["crashes"]["remedy"]

        box.appliance("models", "activate", "spinner", "1")
        wait_until(lambda: states(box)["spinner"] == ("READY", ""))
        assert crashes(box) == []


def test_without_a_daemon_the_disk_tells_who_crashed(box: Terminal) -> None:
    with box.daemon() as process:
        execute(box, "spinner", FOR_EVER)
        die(process, signal.SIGKILL)
    with box.daemon():
        pass

    assert [crash["name"] for crash in crashes(box, code=3)] == ["spinner"]


def test_two_that_were_executing_are_both_suspects_and_the_journal_says_so(box: Terminal) -> None:
    box.appliance("models", "activate", "slow", "1")
    with box.daemon() as process:
        execute(box, "spinner", FOR_EVER)
        execute(box, "slow", 1)
        die(process, signal.SIGSEGV)

    with box.daemon():
        log = (box.state / "daemon.log").read_text()
        assert "while slow version 1 and spinner version 1 were executing: each of them is a suspect" in log
        found = {crash["name"]: [other["name"] for other in crash["beside"]] for crash in crashes(box)}
        assert found == {"slow": ["spinner"], "spinner": ["slow"]}


def test_of_those_executing_when_the_watchdog_ends_it_only_the_one_that_hung_is_blamed(box: Terminal) -> None:
    box.appliance("models", "activate", "slow", "1")
    (box.state / "appliance.toml").write_text(WATCHED)
    with box.daemon("--config", box.state / "appliance.toml") as process:
        infer(box, "spinner", 1000)
        execute(box, "spinner", FOR_EVER)
        wait_until(lambda: "no sign of life" in (box.state / "daemon.log").read_text())
        execute(box, "slow", 1)
        die(process, signal.SIGABRT)

    with box.daemon():
        assert "the last process ended while spinner version 1 hung" in (box.state / "daemon.log").read_text()
        assert [(crash["name"], crash["count"], crash["hung"]) for crash in crashes(box)] == [("spinner", 1, 1)]


def test_an_orderly_stop_counts_nothing_though_an_execution_did_not_end(box: Terminal) -> None:
    (box.state / "appliance.toml").write_text("[server]\ndrain_timeout_s = 1\n")
    with box.daemon("--config", box.state / "appliance.toml") as process:
        execute(box, "spinner", FOR_EVER)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 1

    assert list((box.state / "run" / "executing").iterdir()) == []
    with box.daemon():
        assert crashes(box) == []


def test_a_kill_while_nothing_executes_counts_nothing(box: Terminal) -> None:
    with box.daemon() as process:
        infer(box, "spinner", 1000)
        wait_until(lambda: executing(box) == [])
        die(process, signal.SIGKILL)

    with box.daemon():
        assert crashes(box) == []


def test_who_executes_beside_a_load_that_ends_the_process_is_not_blamed(box: Terminal) -> None:
    with box.daemon() as process:
        execute(box, "spinner", FOR_EVER)
        words = ("models", "activate", "slow", "1", "--state", box.state)
        activate = threading.Thread(target=appliance, args=words)
        activate.start()
        wait_until(lambda: loading(box) == ["slow"])  # for the four seconds of its warm-up
        die(process, signal.SIGSEGV)
        activate.join()

    with box.daemon():
        log = (box.state / "daemon.log").read_text()
        assert "the last process ended, not in order, while slow version 1 was being loaded" in log
        assert crashes(box) == []


def left(process: str, name: str, *, hung: int = 0, loading: bool = False) -> LeftMarks:
    return LeftMarks(MarkedVersion(process, "boot", ModelName(name), ModelVersion(1), "", loading), 1, hung)


def test_a_load_clears_those_of_its_own_process_only_and_nobody_who_hung() -> None:
    found = suspects_of(
        [
            left("p", "bad", loading=True),
            left("p", "good"),
            left("q", "other"),
            left("r", "bad", loading=True),
            left("r", "hangs", hung=1),
        ]
    )

    assert [(suspect.process, suspect.name) for suspect in found] == [("q", "other"), ("r", "hangs")]
