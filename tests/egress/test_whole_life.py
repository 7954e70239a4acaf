"""From the first model to the last signal: the daemon sends nothing, writes only where it may, starts nothing."""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from tests.egress.packet import Event, Kind
from tests.egress.sinkhole_namespace import ROOT
from tests.egress.strace_log import read_trace
from tests.support.daemon import TRANSPORT_SETTING

pytestmark = [pytest.mark.root, pytest.mark.slow]
MODELS = ROOT / "models"
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}

CONTROLS = [
    event
    for word in ("before the life", "after the life")
    for event in (Event(Kind.TCP_CONNECT, "203.0.113.99", 443), Event(Kind.TCP_DATA, "203.0.113.99", 443, word))
]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    directory = tmp_path / "state"
    directory.mkdir()
    return directory


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    directory = tmp_path / "scratch"
    directory.mkdir()
    return directory


def whole_life(state: Path, *options: str | Path) -> list[str | Path]:
    program = [sys.executable, "-m", "tests.egress.whole_life"]
    return [*program, state, MODELS / "digits", MODELS / "breast-cancer", *options]


def test_the_whole_life_sends_nothing_writes_nothing_elsewhere_and_leaves_nothing_running(sinkhole, state, scratch):
    outcome = sinkhole(
        whole_life(state),
        writable=[state, scratch],
        environment=TRANSPORT_SETTING | {"TMPDIR": str(scratch)},
        timeout_s=240,
    )

    assert outcome.returncode == 0, outcome.output
    assert list(outcome.events) == CONTROLS, outcome.output
    assert outcome.written == (), outcome.output
    assert outcome.survivors == (), outcome.output
    assert list(scratch.iterdir()) == []


def test_keys_bundles_and_updates_send_nothing_and_write_nothing_elsewhere(sinkhole, scratch):
    with tempfile.TemporaryDirectory(prefix="a-") as short:  # for sockets
        program = [sys.executable, "-m", "tests.egress.signed_life", short]
        outcome = sinkhole(
            program,
            writable=[Path(short), scratch],
            environment=TRANSPORT_SETTING | {"TMPDIR": str(scratch)},
            timeout_s=400,
        )

    assert outcome.returncode == 0, outcome.output
    assert list(outcome.events) == CONTROLS, outcome.output
    assert outcome.written == (), outcome.output
    assert outcome.survivors == (), outcome.output
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_daemon_starts_no_program_connects_to_loopback_only_and_opens_for_writing_only_its_state(
    sinkhole, state, scratch
):
    log = scratch / "strace.txt"

    outcome = sinkhole(
        whole_life(state, "--trace", log, "--inferences", "20", "--idle-s", "0"),
        writable=[state, scratch],
        environment=TRANSPORT_SETTING | {"TMPDIR": str(scratch)},
        timeout_s=240,
    )

    assert outcome.returncode == 0, outcome.output
    trace = read_trace(log.read_text(errors="replace").splitlines())
    python = Path(sys.executable)
    assert trace.programs, "nothing was traced"
    assert {Path(program) for program in trace.programs} <= {python, python.resolve(), python.with_name("appliance")}
    assert {peer for peer in trace.peers if not is_below(peer, state)} <= LOOPBACK
    devices = {"/dev/null", "/dev/tty"}
    assert {path for path in trace.written if not is_below(path, state, scratch)} <= devices


def is_below(path: str, *directories: Path) -> bool:
    return any(Path(path).is_relative_to(directory) for directory in directories)
