"""New software on a machine of its own: signed, carried in, tried, kept; or bad in five ways, and taken back once."""

from pathlib import Path

import pytest

from tests.system.booted_system import BootedSystem
from tests.system.installed import UNIT, infers, wait_ready
from tests.system.owner import SIGNS, Owner, carry, seal, settled, slots

pytestmark = [pytest.mark.slow, pytest.mark.root]

# What somebody signed by mistake: file, what stands there, what stands there then.
BAD = {
    "crashes at its start": (
        "site/appliance/daemon/app.py",
        '"""The composition root',
        'raise SystemExit(9)\n"""The composition root',
    ),
    "is never ready": (SIGNS, "        self._notifier.ready(text)\n", ""),
    "dies when it is ready": (
        SIGNS,
        "        self._notifier.ready(text)\n",
        "        self._notifier.ready(text)\n        import os\n\n        os.abort()\n",
    ),
    "gives wrong answers": (
        "site/appliance/backends/onnxruntime.py",
        "            return self._run(outputs, feeds, None)",
        "            return [array * 2 + 1 for array in self._run(outputs, feeds, None)]",
    ),
    "crashes while a model executes": (
        "site/appliance/backends/onnxruntime.py",
        "            return self._run(outputs, feeds, None)",
        "            import os\n\n            os.abort()",
    ),
    "hangs while it loads": (
        "site/appliance/serving/version_loader.py",
        "            model = LoadedModel(\n",
        "            while True:\n                time.sleep(1)\n            model = LoadedModel(\n",
    ),
}


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, software_tree: Path) -> Owner:
    return Owner(tmp_path_factory.mktemp("owner"), software_tree)


@pytest.fixture(scope="module")
def cabinet(system: BootedSystem, package: Path, owner: Owner) -> BootedSystem:
    seal(system, package, owner)
    return system


def test_good_software_is_tried_and_kept_and_what_served_serves(cabinet, owner):
    outcome = cabinet.json(f"appliance update apply {carry(cabinet, owner.release('0.2.0'))} --json")

    assert (outcome["result"], outcome["software"]) == ("INSTALLED", "0.2.0"), outcome
    assert settled(cabinet)["state"] == "CONFIRMED"
    assert slots(cabinet)["current"] == "B"
    assert "/var/lib/appliance-software/B/site" in cabinet.run(
        "tr '\\0' ' ' < /proc/$(systemctl show --value --property MainPID appliance)/cmdline"
    )
    assert infers(cabinet)
    receipt = cabinet.run("cat /shared/sticks/s0.2.0/RECEIPTS/*.json")
    assert '"INSTALLED"' in receipt


@pytest.mark.parametrize("kind", BAD)
def test_bad_software_is_taken_back_once_with_its_reason(cabinet, owner, kind):
    version = f"0.3.{list(BAD).index(kind)}"
    before = slots(cabinet)["current"]
    status = cabinet.status_of(
        f"appliance update apply {carry(cabinet, owner.release(version, BAD[kind]))}", timeout_s=400
    )
    failed = settled(cabinet, 300)

    assert status == 33
    assert failed["state"] == "ROLLED_BACK"
    assert failed["reason"]
    now = slots(cabinet)
    assert (now["current"], now["trial"]) == (before, None)
    assert now["fallback"]["version"] == version
    assert infers(cabinet)
    assert cabinet.json("appliance status --json")["crashes"] == [], "the software is to blame, not the models"
    starts = cabinet.show(UNIT, "NRestarts")["NRestarts"]
    cabinet.run("sleep 5")
    assert cabinet.show(UNIT, "NRestarts")["NRestarts"] == starts, "it alternates"


def test_two_damaged_slots_leave_a_box_that_answers_and_takes_software(cabinet, owner):
    stick = carry(cabinet, owner.release("0.4.0"))
    for name in ("A", "B"):
        cabinet.run(f"echo '#' >> /var/lib/appliance-software/{name}/site/appliance/cli/main.py")
    cabinet.run(f"rm -f /run/appliance/slot-*; systemctl restart {UNIT}")
    rescued = cabinet.show(UNIT, "ActiveState", "StatusText")

    assert rescued["ActiveState"] == "active"
    assert rescued["StatusText"].startswith("RESCUE: ")
    assert "main.py has changed" in rescued["StatusText"]
    assert "neither can start" in cabinet.run("appliance doctor", check=False)
    assert cabinet.status_of("appliance status") == 0
    assert cabinet.status_of("appliance logs") == 0
    assert not infers(cabinet)
    cabinet.run(f"appliance update apply {stick}")
    assert settled(cabinet)["state"] == "CONFIRMED"
    assert infers(cabinet)


def test_the_services_user_can_change_nothing_that_root_runs(cabinet):
    service = "setpriv --reuid appliance --regid appliance --init-groups"
    order = '{"slot": "A", "tree": "' + "0" * 64 + '", "place": "/tmp", "bundle": ""}'
    ask = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('/run/appliance-software.sock');"
        "s.sendall(sys.argv[1].encode() + bytes([10])); print(s.makefile().read())"
    )

    before = cabinet.run("cat /var/lib/appliance-software/*/FILES.sha256 | sha256sum")
    foreign = cabinet.run(r"find /var/lib/appliance-software ! -type l '(' ! -user root -o -perm /022 ')'")
    told = cabinet.run(f"{service} /usr/bin/python3 -I -c \"{ask}\" '{order}'")
    nobody = cabinet.run(f'setpriv --reuid nobody --clear-groups /usr/bin/python3 -I -c "{ask}" x', check=False)

    assert foreign == ""
    assert cabinet.status_of(f"{service} touch /var/lib/appliance-software/A/site/more.py") == 1
    assert "there is no bundle" in told
    assert "PermissionError" in nobody
    assert cabinet.run("cat /var/lib/appliance-software/*/FILES.sha256 | sha256sum") == before


def test_root_does_not_run_what_belongs_to_the_service(cabinet, owner):
    """Models and engines of a service that somebody has taken over, and that now waits for root."""
    stick = carry(cabinet, owner.model("breast-cancer"))
    cabinet.run(f"systemctl stop {UNIT}")
    said = " ".join(cabinet.run(f"appliance update apply {stick}", check=False).split())
    cabinet.run(f"systemctl start {UNIT}")
    wait_ready(cabinet)
    before = cabinet.run("appliance status")
    cabinet.run(f"appliance update apply {stick}")

    assert "next: start it: systemctl start appliance" in said
    assert "breast-cancer" not in before
    assert "breast-cancer" in cabinet.run("appliance status")


def test_software_is_taken_back_because_an_operator_wants_it(cabinet, owner):
    cabinet.run(f"appliance update apply {carry(cabinet, owner.release('0.5.0'))}")
    newer = slots(cabinet)["current"]
    cabinet.run("appliance update rollback")

    assert settled(cabinet)["state"] == "ROLLED_BACK"
    assert slots(cabinet)["current"] != newer
    assert infers(cabinet)


def test_a_damaged_record_leaves_the_rescue_software_and_an_installation_mends_it(cabinet):
    cabinet.run("for copy in a b; do echo torn > /var/lib/appliance/slots/record.$copy; done")
    cabinet.run(f"systemctl restart {UNIT}")
    before = cabinet.show(UNIT, "ActiveState", "NRestarts", "StatusText")
    cabinet.run("sleep 5")

    assert before["ActiveState"] == "active"
    assert "record of the software slots is damaged" in before["StatusText"]
    assert cabinet.show(UNIT, "ActiveState", "NRestarts", "StatusText") == before
    cabinet.run("/usr/lib/appliance/host-setup configure")
    cabinet.run(f"systemctl restart {UNIT}")
    assert cabinet.run("stat -c %U /var/lib/appliance/slots/record.?").split() == ["appliance"] * 2
    assert infers(cabinet)
