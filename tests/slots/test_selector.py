import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.errors import Failed
from appliance.slots.arming import arm, back, keep, note_ready, refuse
from appliance.slots.record import SlotName
from appliance.slots.store import SlotStore
from tests.slots.test_filling import database, rows
from tests.slots.trees import answer_of, make_tree

pytestmark = pytest.mark.slow
A, B = SlotName.A, SlotName.B
BROKEN = "raise SystemExit('{version} is broken')"


class Cabinet:
    """A box of directories, and the selector as one file that runs alone."""

    def __init__(self, root: Path, selector: Path) -> None:
        self.root, self.selector = root, selector
        for name in ("state", "runtime"):
            (root / name).mkdir()
        make_tree(root / "rescue", "0.0.1")
        self.store = SlotStore(root / "state" / "slots")

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        places = [f"--{name}={self.root / name}" for name in ("state", "rescue", "runtime")]
        return subprocess.run(
            [sys.executable, "-I", "-S", str(self.selector), *places, *arguments],
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], **environment},
            check=False,
        )

    def start(self) -> dict[str, object]:
        done = self.call("start", "--listen", "unix:/x")
        assert done.returncode == 0, done.stderr
        return answer_of(done.stdout)

    def fill(self, version: str, **options: object) -> str:
        tree = self.root / f"tree-{version}"
        digest = make_tree(tree, version, **options)
        done = self.call("fill", str(tree))
        assert done.returncode == 0, done.stderr
        return digest


@pytest.fixture(scope="session")
def selector(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("selector") / "select.pyz"
    subprocess.run([sys.executable, "scripts/build-selector", str(out)], check=True)
    return out


@pytest.fixture
def cabinet(tmp_path, selector) -> Cabinet:
    return Cabinet(tmp_path, selector)


def test_the_selector_is_the_same_file_from_the_same_sources(tmp_path, selector):
    subprocess.run([sys.executable, "scripts/build-selector", str(tmp_path / "again")], check=True)

    assert (tmp_path / "again").read_bytes() == selector.read_bytes()


def test_an_installed_tree_runs_as_the_service_and_as_the_command_line(cabinet):
    cabinet.fill("0.1.0")

    started = cabinet.start()
    assert started["version"] == "0.1.0"
    assert started["arguments"] == ["serve", "--listen", "unix:/x"]
    assert started["path"] == str(cabinet.store.path(A) / "site")
    assert answer_of(cabinet.call("run", "status", "--json").stdout)["arguments"] == ["status", "--json"]
    assert not list(cabinet.root.rglob("*.pyc")), "a tree never changes"
    assert "A: software 0.1.0" in cabinet.call("status").stdout


def test_installing_the_same_again_changes_nothing(cabinet):
    cabinet.fill("0.1.0")
    before = cabinet.store.read()
    done = cabinet.call("fill", str(cabinet.root / "tree-0.1.0"))

    assert "already" in done.stderr
    assert cabinet.store.read() == before


def test_a_newer_package_is_tried_and_falls_back_if_it_does_not_start(cabinet):
    cabinet.fill("0.1.0")
    cabinet.fill("0.2.0", main=BROKEN)
    assert cabinet.call("trial-open").returncode == 0

    for _ in range(3):
        done = cabinet.call("start")
        assert "0.2.0 is broken" in done.stderr
        cabinet.call("ended", SERVICE_RESULT="exit-code", EXIT_CODE="exited", EXIT_STATUS="1")
    assert cabinet.start()["version"] == "0.1.0"
    assert cabinet.call("trial-open").returncode == 1
    fallback = cabinet.store.read().fallback
    assert fallback is not None
    assert fallback.reason.count("it ended with exit status 1") == 3
    assert "last fallback: from B (software 0.2.0)" in cabinet.call("status").stdout


def test_a_trial_that_is_kept_stays_and_can_be_taken_back(cabinet):
    cabinet.fill("0.1.0")
    cabinet.fill("0.2.0")
    assert cabinet.start()["version"] == "0.2.0"
    note_ready(cabinet.store)
    keep(cabinet.store)
    assert cabinet.start()["version"] == "0.2.0"
    back(cabinet.store, "rolled back by the operator")
    assert cabinet.start()["version"] == "0.1.0"


def test_a_judged_trial_falls_back_at_once(cabinet):
    cabinet.fill("0.1.0")
    cabinet.fill("0.2.0")
    cabinet.start()
    refuse(cabinet.store, "golden answers differ")

    done = cabinet.call("start")
    assert answer_of(done.stdout)["version"] == "0.1.0"
    assert "slot B (software 0.2.0) failed: golden answers differ" in done.stderr


def test_software_of_another_form_of_state_gets_a_copy_of_the_registry_and_the_way_back_restores_it(cabinet):
    path = cabinet.root / "state" / "registry.db"
    cabinet.fill("0.1.0")
    database(path, 1).close()
    cabinet.fill("0.2.0", data_epoch=2)
    cabinet.start()
    database(path, 2).close()
    refuse(cabinet.store, "no")
    assert rows(path) == [1, 2]

    assert cabinet.start()["version"] == "0.1.0"
    assert rows(path) == [1]
    assert cabinet.start()["version"] == "0.1.0"


def test_without_that_copy_there_is_no_way_back(cabinet):
    cabinet.fill("0.1.0")
    database(cabinet.root / "state" / "registry.db", 1).close()
    cabinet.fill("0.2.0", data_epoch=2)
    cabinet.start()
    keep(cabinet.store)
    (copy,) = cabinet.store.directory.glob("registry-before-*.db")
    copy.unlink()

    with pytest.raises(Failed, match="the copy that it would need is gone"):
        back(cabinet.store, "the operator wants it")
    assert cabinet.start()["version"] == "0.2.0"


def test_without_a_copy_of_the_registry_there_is_no_trial(cabinet):
    cabinet.fill("0.1.0")
    (cabinet.root / "state" / "registry.db").write_bytes(b"rotten" * 999)
    cabinet.fill("0.2.0", data_epoch=2)

    assert cabinet.start()["version"] == "0.1.0"
    fallback = cabinet.store.read().fallback
    assert fallback is not None
    assert "cannot be copied" in fallback.reason


def test_a_rotten_slot_gives_way_and_two_rotten_ones_leave_the_rescue_software(cabinet):
    cabinet.fill("0.1.0")
    cabinet.fill("0.2.0")
    cabinet.start()
    keep(cabinet.store)
    for name in (B, A):
        for marker in (cabinet.root / "runtime").iterdir():
            marker.unlink()
        main = cabinet.store.path(name) / "site/appliance/cli/main.py"
        main.write_bytes(main.read_bytes().replace(b"json", b"jsom"))
        started = cabinet.start()
        assert started["version"] == ("0.1.0" if name is B else "0.0.1")

    assert started["arguments"][:2] == ["serve", "--rescue"]
    assert "main.py has changed" in str(started["arguments"][2])
    assert answer_of(cabinet.call("run", "update", "apply", "/x").stdout)["version"] == "0.0.1"


def test_a_slot_is_hashed_once_in_each_start_of_the_machine(cabinet):
    cabinet.fill("0.1.0")
    cabinet.start()
    (marker,) = (cabinet.root / "runtime").iterdir()
    marker.write_text(marker.read_text().replace(marker.read_text()[:8], "another-"))
    main = cabinet.store.path(A) / "site/appliance/cli/main.py"
    main.write_bytes(main.read_bytes() + b"\n")

    assert cabinet.start()["version"] == "0.0.1"


def test_a_damaged_record_starts_the_rescue_software_and_an_installation_mends_it(cabinet):
    cabinet.fill("0.1.0")
    cabinet.start()
    for copy in ("record.a", "record.b"):
        (cabinet.store.directory / copy).write_bytes(b"torn")

    assert cabinet.start()["version"] == "0.0.1"
    assert "damaged" in cabinet.call("status").stderr
    cabinet.fill("0.3.0")
    assert cabinet.start()["version"] == "0.3.0"


def test_a_box_without_any_software_says_what_to_install(cabinet):
    for path in (cabinet.root / "rescue").rglob("*.sha256"):
        path.unlink()
    done = cabinet.call("start")

    assert done.returncode == 1
    assert "no software" in done.stderr
    assert "next: install it again" in done.stderr


def test_a_trial_that_cannot_be_counted_is_not_started(cabinet):
    cabinet.fill("0.1.0")
    cabinet.fill("0.2.0")
    in_the_way = [cabinet.store.directory / f"record.{copy}.tmp" for copy in "ab"]
    for path in in_the_way:
        path.mkdir()

    assert cabinet.start()["version"] == "0.1.0"
    for path in in_the_way:
        path.rmdir()
    assert cabinet.start()["version"] == "0.2.0"


def test_status_is_there_for_programs(cabinet):
    digest = cabinet.fill("0.1.0")
    told = json.loads(cabinet.call("status", "--json").stdout)

    assert told["slots"]["A"]["tree"] == digest
    assert told["current"] == "A"


def test_an_installation_during_a_trial_keeps_the_registry_of_before(cabinet):
    cabinet.fill("0.1.0")
    registry = cabinet.root / "state" / "registry.db"
    database(registry, 1).close()
    cabinet.fill("0.2.0", data_epoch=2)
    cabinet.start()
    database(registry, 2).close()  # as the software on trial writes it
    cabinet.fill("0.3.0", data_epoch=2)
    for _ in range(3):
        assert cabinet.start()["version"] == "0.3.0"

    assert cabinet.start()["version"] == "0.1.0"
    assert rows(registry) == [1]


def test_an_installation_leaves_the_slot_to_an_update_that_is_on_trial(cabinet):
    cabinet.fill("0.1.0")
    cabinet.fill("0.2.0")
    arm(cabinet.store, B, "sha256:1", ())
    before = cabinet.store.read()
    make_tree(cabinet.root / "newer", "0.3.0")
    done = cabinet.call("fill", str(cabinet.root / "newer"))

    assert done.returncode == 1
    assert "on trial in slot B" in done.stderr
    assert cabinet.store.read() == before
    assert cabinet.start()["version"] == "0.2.0"


@pytest.mark.parametrize("command", ["ready", "ended"])
def test_a_damaged_record_does_not_end_the_rescue_software(cabinet, command):
    cabinet.fill("0.1.0")
    for copy in ("record.a", "record.b"):
        (cabinet.store.directory / copy).write_bytes(b"torn")
    cabinet.start()
    done = cabinet.call(command, SERVICE_RESULT="success", EXIT_CODE="exited", EXIT_STATUS="0")

    assert (done.returncode, "damaged" in done.stderr) == (0, True)
