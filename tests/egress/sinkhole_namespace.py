"""Run a command in a box whose whole internet is the sink-hole, and learn what it sent, wrote and left running."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.egress.enter_sinkhole import Order, Stock
from tests.egress.packet import Event, Kind

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("unshare", "ip", "mount")
SETUP_S = 30.0
NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
# A telemetry client that finds itself on a build machine keeps quiet. Nothing of this is handed down to the box,
# whose environment is made from nothing; the names are here so that a test can say so.
BUILD_MACHINE_SIGNS = (
    *("CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "TRAVIS", "CIRCLECI", "APPVEYOR", "BUILDKITE", "BUILD_ID"),
    *("CODEBUILD_BUILD_ID", "JENKINS_URL", "TEAMCITY_VERSION", "PYTEST_CURRENT_TEST", "DO_NOT_TRACK"),
    *("ORT_DISABLE_TELEMETRY", "ORT_TELEMETRY_DISABLED", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"),
)


class NotPossibleHere(Exception):
    """This machine, or this user, cannot build the box."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did in the box.

    returncode: None if it ran out of time. written: paths outside `writable` that it made, changed or deleted.
    survivors: command lines of processes that were still there when it had ended.
    """

    returncode: int | None
    output: str
    events: tuple[Event, ...]
    written: tuple[str, ...]
    survivors: tuple[str, ...]


def run_in_sinkhole(
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    writable: Sequence[Path] = (),
    timeout_s: float = 60,
) -> Outcome:
    """Run `command` in the repository's root, in the box.

    log: a directory to make; it keeps order, events and outcome. writable: shared with the outside.
    Raises NotPossibleHere if the box cannot be built.
    """
    if reason := why_no_namespaces():
        raise NotPossibleHere(reason)
    log.mkdir(parents=True)
    order = Order(
        command=[str(word) for word in command],
        directory=str(ROOT),
        environment=box_environment(environment or {}),
        writable=[str(directory.resolve(strict=True)) for directory in writable],
        timeout_s=timeout_s,
    )
    (log / "order.json").write_text(json.dumps(asdict(order)))
    output = _enter(log, timeout_s + SETUP_S)
    if not (log / "outcome.json").exists():
        raise NotPossibleHere(output.strip().rpartition("\n")[2] or "unshare ended without a word")
    stock = Stock(**json.loads((log / "outcome.json").read_text()))
    return Outcome(stock.returncode, output, read_events(log), tuple(stock.written), tuple(stock.survivors))


def box_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a plain service and `more`; only PATH and HOME are inherited."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**inherited, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **more}


def read_events(log: Path) -> tuple[Event, ...]:
    """Read what left the box, in order."""
    lines = (log / "events.jsonl").read_text().splitlines()
    return tuple(Event(**{**fields, "kind": Kind(fields["kind"])}) for fields in map(json.loads, lines))


def why_no_namespaces() -> str | None:
    """Say what is missing for a box, as far as it can be seen without trying."""
    if sys.platform != "linux":
        return f"network namespaces need Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "namespaces, veth and overlay mounts need root; this is user " + str(os.geteuid())
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _enter(log: Path, timeout_s: float) -> str:
    command = ["unshare", *NAMESPACES, sys.executable, "-m", "tests.egress.enter_sinkhole", str(log.resolve())]
    with (log / "output.txt").open("wb") as output:
        inside = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            inside.wait(timeout_s)
        finally:
            inside.kill()  # --kill-child: with it goes process 1 of the box, and with that one everything else
            inside.wait()
    return (log / "output.txt").read_text(errors="replace")
