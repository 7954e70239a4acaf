"""Killed before every file operation: what starts next is whole software with the registry that fits it."""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.slots.arming import arm, back, keep, note_ready, refuse
from appliance.slots.filling import Expected, fill_from_archive
from appliance.slots.installing import install_tree
from appliance.slots.record import SlotName
from appliance.slots.starting import prepare_start
from appliance.slots.tree import check_tree
from tests.slots.kill_driver import places_of
from tests.slots.test_filling import database, rows
from tests.slots.trees import make_tree

pytestmark = pytest.mark.slow
A, B = SlotName.A, SlotName.B
STATES = {
    "fill": "installed",
    "arm": "filled",
    "start": "armed",
    "ready": "started",
    "ended": "started",
    "keep": "started",
    "refuse": "started",
    "start refused": "refused",
    "back": "kept",
    "start back": "gone back",
}


class Box:
    """Software 0.1.0 in slot A with a registry of form 1; 0.2.0 writes form 2."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.places = places_of(root)

    def build(self) -> None:
        for name in ("state", "runtime"):
            (self.root / name).mkdir(parents=True)
        (self.root / "boot_id").write_text("boot-1\n")
        make_tree(self.root / "rescue", "0.0.1")
        make_tree(self.root / "old", "0.1.0")
        self.tree = make_tree(self.root / "new", "0.2.0", data_epoch=2)
        with tarfile.open(self.root / "software.tar", "w") as archive:
            for path in sorted((self.root / "new").rglob("*")):
                if path.is_file():
                    archive.add(path, str(path.relative_to(self.root / "new")))
        (self.root / "tree").write_text(self.tree)
        install_tree(self.places, self.root / "old", lambda _: None)
        database(self.places.database, 1).close()

    def bring_to(self, state: str) -> None:
        store = self.places.slots
        steps = ["filled", "armed", "started", {"refused": "refused"}.get(state, "kept"), "gone back"]
        for step in steps[: steps.index(state) + 1] if state in steps else []:
            match step:
                case "filled":
                    with (self.root / "software.tar").open("rb") as archive:
                        fill_from_archive(
                            store, B, archive, Expected((self.root / "tree").read_text(), 1 << 24, 1 << 24, 99)
                        )
                case "armed":
                    arm(store, B, "sha256:1", ())
                case "started":
                    self.start()
                    database(self.places.database, 2).close()  # as the new software writes it
                case "kept":
                    note_ready(store)
                    keep(store)
                case "refused":
                    refuse(store, "golden answers differ")
                case "gone back":
                    back(store, "the operator wants it")

    def start(self) -> str:
        """Start, and say which software that is; it must be whole."""
        prepare_start(self.places, [], lambda _: None)
        record = self.places.slots.read()
        assert record.run is not None, "the rescue software runs"
        slot = record.slots[record.run.slot]
        assert check_tree(self.places.slots.path(record.run.slot), slot.tree) == ""
        return slot.version

    def check(self) -> None:
        """Whatever was cut off: the next starts run whole software, and the registry fits it."""
        for _ in range(5):
            if self.start() == "0.1.0":
                assert rows(self.places.database) == [1], "the registry of the other software"
        assert self.places.slots.read().restoring == ""


@pytest.fixture(scope="module")
def driver() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.slots.kill_driver"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("operation", STATES)
def test_a_kill_anywhere_leaves_software_that_starts(driver, tmp_path, operation):
    template = Box(tmp_path / "template")
    template.build()
    template.bring_to(STATES[operation])
    at, answer = 0, "killed"
    while answer == "killed":
        at += 1
        root = tmp_path / "box"
        shutil.copytree(template.root, root, symlinks=True)
        asked = {
            "operation": operation.split()[0],
            "root": str(root),
            "archive": str(root / "software.tar"),
            "tree": template.tree,
            "at": at,
        }
        driver.stdin.write(json.dumps(asked) + "\n")
        driver.stdin.flush()
        answer = json.loads(driver.stdout.readline())
        Box(root).check()
        shutil.rmtree(root)

    assert at > 5, answer
