"""kill -9 before every file operation at the station: no version is ever two things, and the next command goes on."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.bundle.policy import Policy
from appliance.bundle.ticket import Devices
from appliance.errors import AlreadyExists
from appliance.publish.bundle_check import check_bundle
from appliance.publish.bundle_writer import require_place
from appliance.publish.ceremony import hold_ceremony
from appliance.publish.cutting import CutRequest
from appliance.publish.items import add_publisher
from tests.updates.boxes import PUBLISHER, Publisher, silent, write_model

ROOT = Path(__file__).parents[2]
ALL = CutRequest(Devices(all=True))


class Driver:
    """Talks to one kill_driver."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def perform(self, operation: str, directory: Path, at: int = 0, place: Path | None = None) -> Any:
        """Returns 'killed', or the list of operations when it came through."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"operation": operation, "directory": str(directory), "at": at, "place": str(place)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    command = [sys.executable, "-m", "tests.publish.kill_driver"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Driver(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("operation", "stride"),
    [
        ("cut", 13),
        ("rotate", 7),
        pytest.param("cut", 1, marks=pytest.mark.slow),
        pytest.param("replace", 3, marks=pytest.mark.slow),
        pytest.param("rotate", 1, marks=pytest.mark.slow),
        pytest.param("add", 1, marks=pytest.mark.slow),
        pytest.param("ceremony", 5, marks=pytest.mark.slow),
    ],
)
def test_a_command_that_is_killed_anywhere_leaves_one_meaning_to_each_version(
    driver: Driver, publisher: Publisher, tmp_path: Path, operation: str, stride: int
) -> None:
    publisher.add(write_model(publisher.directory / "packages" / "first", 1))
    template = tmp_path / "template"
    if operation == "ceremony":
        template.mkdir()
    else:
        shutil.copytree(publisher.directory, template)
    before = bundle_before(Publisher(template)) if operation == "replace" else None
    operations = driver.perform(operation, copy(template, tmp_path), place=stick(tmp_path, "whole", before))
    assert operations != "killed"
    assert len(operations) > 20

    for at in range(1, len(operations) + 1, stride):
        place = f"killed before operation {at}: {operations[at - 1]}"
        owner = Publisher(copy(template, tmp_path))
        killed = stick(tmp_path, "killed", before)
        assert driver.perform(operation, owner.directory, at, killed) == "killed", place
        if before is not None:
            assert require_place(killed, replace=True).is_dir(), place
            check_bundle(killed, owner.root, datetime.now(UTC), silent)
        again(owner, operation)
        next_one = owner.cut("next", ALL)
        station = owner.directory / "station"
        with owner.opened() as opened:
            newest = opened.store.path("root", opened.store.versions("root")[-1])
        assert (station / "root.json").read_bytes() == newest.read_bytes(), place
        checked = check_bundle(next_one, owner.root, datetime.now(UTC), silent)
        assert checked.ticket.seq >= 1, place
        assert_one_meaning([station / "metadata", killed, next_one], place)


def again(owner: Publisher, operation: str) -> None:
    """What a person types after the lights came back."""
    if operation == "ceremony":
        with owner.opened(new=True) as station:
            with contextlib.suppress(AlreadyExists):
                hold_ceremony(station, Policy())
            if not station.store.versions(f"models-{PUBLISHER}"):
                add_publisher(station, PUBLISHER)
    if operation in ("ceremony", "add"):
        owner.add(write_model(owner.directory / "packages" / "again", 2))


def assert_one_meaning(places: list[Path], what: str) -> None:
    """The same name never stands for two contents, in the station or on any stick."""
    seen: dict[str, bytes] = {}
    for place in places:
        for path in place.rglob("*.json"):
            if "metadata" not in path.parts or any(part.startswith(".") for part in path.parts):
                continue
            name = path.name if path.name != "timestamp.json" else f"{version_of(path)}.timestamp.json"
            assert seen.setdefault(name, path.read_bytes()) == path.read_bytes(), f"{what}: {name}"


def version_of(path: Path) -> int:
    return int(json.loads(path.read_bytes())["signed"]["version"])


def copy(template: Path, tmp_path: Path) -> Path:
    target = tmp_path / "owner-copy"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(template, target)
    return target


def bundle_before(owner: Publisher) -> Path:
    """Cut the bundle that lies on every stick."""
    return owner.cut("before", ALL)


def stick(tmp_path: Path, name: str, before: Path | None = None) -> Path:
    """An empty stick, or one on which that bundle lies already."""
    place = tmp_path / name
    shutil.rmtree(place, ignore_errors=True)
    if before is None:
        place.mkdir()
    else:
        shutil.copytree(before, place)
    return place
