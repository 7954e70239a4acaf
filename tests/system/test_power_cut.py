"""The power goes in the middle of a software update: the box comes back by itself, and the update can be finished."""

import json
from pathlib import Path

import pytest

from tests.system.booted_system import BootedSystem
from tests.system.installed import infers, wait_ready
from tests.system.owner import Owner, carry, seal, settled, slots

pytestmark = [pytest.mark.slow, pytest.mark.root]

STATE = "/var/lib/appliance"
# What the update has come to when the power goes: a command that succeeds from then on. {other}: the slot it fills.
POINTS = {
    "content arrives": f"ls {STATE}/blobs/partial/*",
    "the slot is being filled": f"ls -d {STATE}/slots/{{other}}.tmp",
    "the slot is full": f"grep -q {{version}} {STATE}/slots/record.a {STATE}/slots/record.b",
    "it is on trial": "/usr/bin/python3 -I /usr/lib/appliance/select.pyz trial-open",
    "it starts": "journalctl --boot --unit appliance | grep -q 'software {version} from slot'",
    "it is ready": "journalctl --boot --unit appliance | grep 'software {version} from slot' -A100 | grep -q READY",
    "it was kept": "/usr/bin/python3 -I /usr/lib/appliance/select.pyz status | grep -q 'software {version}.*current'",
}

OFTEN = ("content arrives", "the slot is full", "it is on trial", "it is ready")  # the others: --exhaustive


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, software_tree: Path) -> Owner:
    return Owner(tmp_path_factory.mktemp("owner"), software_tree)


@pytest.fixture(scope="module")
def cabinet(system: BootedSystem, package: Path, owner: Owner) -> BootedSystem:
    seal(system, package, owner)
    return system


def update_is_open(system: BootedSystem) -> bool:
    """Whether the box still has something to finish; between two softwares nobody knows."""
    told = system.run("appliance update status --json 2>/dev/null || echo '{}'")
    return bool(json.loads(told).get("open_update", "unknown")) or slots(system)["trial"] is not None


@pytest.mark.parametrize(
    "point", [point if point in OFTEN else pytest.param(point, marks=pytest.mark.exhaustive) for point in POINTS]
)
def test_a_power_cut_at_any_step_leaves_a_box_that_serves_and_the_update_can_be_finished(cabinet, owner, point):
    version = f"0.2.{list(POINTS).index(point)}"
    stick = carry(cabinet, owner.release(version))
    other = "B" if slots(cabinet)["current"] == "A" else "A"
    reached = POINTS[point].format(version=version.replace(".", r"\."), other=other)
    update = cabinet.start(f"appliance update apply {stick}")
    cabinet.wait_until(lambda: cabinet.status_of(reached) == 0, point, 60)
    cabinet.power_cut()
    update.communicate(timeout=30)

    cabinet.boot()
    wait_ready(cabinet)
    assert infers(cabinet)
    cabinet.wait_until(lambda: not update_is_open(cabinet), "what was cut off has its end")
    wait_ready(cabinet)
    if slots(cabinet)["slots"][other]["version"] != version or slots(cabinet)["current"] != other:
        cabinet.run(f"appliance update apply {stick}")
    assert settled(cabinet)["state"] == "CONFIRMED"
    assert slots(cabinet)["current"] == other
    assert infers(cabinet)
