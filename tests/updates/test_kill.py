"""kill -9 before every file operation of an update: old or new, never neither, and no way back for old sticks."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.model.identity import ModelVersion
from appliance.registry.ticket_records import TicketState
from tests.updates.boxes import KEEPS, ONE, TWO, Publisher, SealedBox

ROOT = Path(__file__).parents[2]
EVERY = pytest.param(1, marks=[pytest.mark.slow, pytest.mark.exhaustive])


@dataclass
class Driver:
    """Talks to one kill_driver."""

    process: "subprocess.Popen[str]"

    def perform(self, operation: str, state: Path, stick: Path, at: int = 0) -> Any:
        """Returns 'killed', or the list of operations when it came through."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"operation": operation, "state": str(state), "stick": str(stick), "at": at}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    command = [sys.executable, "-m", "tests.updates.kill_driver"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Driver(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


@dataclass
class Case:
    """A box with version 1, sticks with versions 1 and 2, and a copy of the box for each kill."""

    template: Path
    older: Path
    newer: Path
    directory: Path

    def copy(self) -> SealedBox:
        state = self.directory / "state"
        shutil.rmtree(state, ignore_errors=True)
        self.directory.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", self.template, state], check=True)  # keeps hard links
        return SealedBox(state)


@pytest.fixture
def case(publisher: Publisher, box: SealedBox, tmp_path: Path) -> Case:
    older = publisher.stick(1, answer=1.0)
    assert box.apply(older).code == 0
    return Case(box.layout.root, older, publisher.directory, tmp_path / "killed")


@pytest.mark.parametrize("stride", [EVERY, pytest.param(3, marks=pytest.mark.slow), 23])
def test_an_update_that_is_killed_anywhere_can_be_applied_again(
    driver: Driver, case: Case, publisher: Publisher, stride: int
) -> None:
    case.newer = publisher.stick(2, answer=1.0)
    operations = operations_of(driver, "apply", case)

    for at in range(1, len(operations) + 1, stride):
        place = f"killed before operation {at}: {operations[at - 1]}"
        box = case.copy()
        driver.perform("apply", box.layout.root, case.newer, at)
        assert_sound(box, {ONE, TWO}, place)
        outcome = box.apply(case.newer)
        assert outcome.code in (0, 10), f"{place}: {outcome}"
        assert_settled(box, TWO, TicketState.CONFIRMED, place)
        assert box.apply(case.older).result == "ROLLBACK", place
        box.close()


@pytest.mark.parametrize("stride", [EVERY, pytest.param(5, marks=pytest.mark.slow), 29])
def test_an_update_that_fails_its_trial_and_is_killed_anywhere_leaves_the_version_before(
    driver: Driver, case: Case, publisher: Publisher, stride: int
) -> None:
    case.newer = publisher.stick(2, answer=5.0)
    good = publisher.stick(3, answer=1.0)
    operations = operations_of(driver, "apply", case)

    for at in range(1, len(operations) + 1, stride):
        place = f"killed before operation {at}: {operations[at - 1]}"
        box = case.copy()
        driver.perform("apply", box.layout.root, case.newer, at)
        assert_sound(box, {ONE, TWO}, place)
        outcome = box.apply(case.newer)
        assert outcome.code in (32, 33), f"{place}: {outcome}"
        assert_settled(box, ONE, TicketState.ROLLED_BACK, place)
        assert box.apply(good).code == 0, place
        box.close()


@pytest.mark.parametrize("stride", [EVERY, pytest.param(2, marks=pytest.mark.slow), 11])
def test_a_rollback_that_is_killed_anywhere_is_one_step_back_or_none(
    driver: Driver, case: Case, publisher: Publisher, box: SealedBox, stride: int
) -> None:
    case.newer = publisher.stick(2, answer=1.0)
    assert box.apply(case.newer).code == 0
    operations = operations_of(driver, "rollback", case)

    for at in range(1, len(operations) + 1, stride):
        place = f"killed before operation {at}: {operations[at - 1]}"
        box = case.copy()
        driver.perform("rollback", box.layout.root, case.newer, at)
        assert_sound(box, {ONE, TWO}, place)
        if not is_rolled_back(box):
            box.roll_back()
        assert_settled(box, ONE, TicketState.ROLLED_BACK, place)
        assert box.apply(case.older).result == "ROLLBACK", place
        box.close()


def operations_of(driver: Driver, operation: str, case: Case) -> list[str]:
    box = case.copy()
    operations = driver.perform(operation, box.layout.root, case.newer)
    assert operations != "killed"
    assert len(operations) > 50
    found: list[str] = operations
    box.close()
    return found


def is_rolled_back(box: SealedBox) -> bool:
    """Whether the rollback came so far that nothing is left to be done."""
    with box.box() as opened:
        return opened.journal.read() is None and opened.registry.tickets()[0].state is TicketState.ROLLED_BACK


def assert_sound(box: SealedBox, allowed: set[ModelVersion], place: str) -> None:
    """What a daemon would find that starts now."""
    with box.box() as opened:
        assert opened.registry.database.check() == "", place
        desired = opened.registry.desired([KEEPS])[KEEPS]
        assert desired in allowed, place
        assert opened.registry.is_signed(KEEPS, desired), place
        assert opened.registry.verify(KEEPS) == [], place
        assert opened.trust.floor().root == 1, place


def assert_settled(box: SealedBox, desired: ModelVersion, state: TicketState, place: str) -> None:
    """Nothing is open, nothing is left lying about, and the log tells it in one piece."""
    with box.box() as opened:
        assert opened.registry.desired([KEEPS])[KEEPS] == desired, place
        assert opened.registry.tickets()[0].state is state, place
        assert opened.journal.read() is None, place
        assert opened.registry.verify() == [], place
        assert opened.audit.verify() == [], place
        assert not list(box.layout.partial_blobs.iterdir()), place
        assert not list(box.layout.staging.iterdir()), place
        generations = [path.name for path in box.layout.trust.iterdir()]
        assert len(generations) == 4, f"{place}: {generations}"  # one generation, two floors, the pointer
