"""New software on a machine of its own: signed, carried in, tried, kept; or bad in five ways, and taken back once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from appliance.publish.items import add_model
from appliance.publish.software import add_software
from appliance.slots.tree import DESCRIPTION, read_software, write_file_list
from tests.system.booted_system import BootedSystem
from tests.system.installed import UNIT, infers, install, wait_ready
from tests.updates.boxes import PUBLISHER, Publisher, silent

pytestmark = [pytest.mark.slow, pytest.mark.root]

ROOT = Path(__file__).resolve().parents[2]
APP = "site/appliance/daemon/app.py"
SIGNS = "site/appliance/daemon/life_signs.py"
QUICK = (
    ("site/appliance/daemon/update_room.py", "PROOF_AFTER_S = 10.0", "PROOF_AFTER_S = 3.0"),
    (SIGNS, "_EXTENSION_S = 30.0", "_EXTENSION_S = 4.0"),
)
# What somebody signed by mistake: file, what stands there, what stands there now.
BAD = {
    "crashes at its start": (APP, '"""The composition root', 'raise SystemExit(9)\n"""The composition root'),
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
    "hangs while it loads": (
        "site/appliance/serving/version_loader.py",
        "            model = LoadedModel(\n",
        "            while True:\n                time.sleep(1)\n            model = LoadedModel(\n",
    ),
}


class Owner:
    """The owner's station, and releases made of this checkout's tree."""

    def __init__(self, directory: Path, tree: Path) -> None:
        self.publisher = Publisher(directory)
        self._tree = tree
        self.publisher.hold_ceremony()

    def model(self, name: str) -> Path:
        with self.publisher.opened() as station:
            target = add_model(station, ROOT / "models" / name, PUBLISHER, silent)[0]
        return self.publisher.cut(name, CutRequest(Devices(all=True), items=(target,)))

    def release(self, version: str, *changes: tuple[str, str, str], data_epoch: int = 0) -> Path:
        """Sign this checkout's tree as another release, with some lines changed; returns the stick."""
        tree = self.publisher.directory / f"tree-{version}"
        shutil.copytree(self._tree, tree)
        for path, old, new in (*QUICK, *changes):
            text = (tree / path).read_text()
            assert text.count(old) == 1, f"{path} has {text.count(old)} x {old!r}"
            (tree / path).write_text(text.replace(old, new))
        software = read_software(tree)
        software = replace(software, version=version, data_epoch=data_epoch or software.data_epoch)
        (tree / DESCRIPTION).write_bytes(software.to_bytes())
        write_file_list(tree)
        with self.publisher.opened() as station:
            target = add_software(station, tree, silent)
        shutil.rmtree(tree)
        return self.publisher.cut(f"s{version}", CutRequest(Devices(all=True), items=(target,)))


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory, software_tree: Path) -> Owner:
    return Owner(tmp_path_factory.mktemp("owner"), software_tree)


def carry(system: BootedSystem, stick: Path) -> str:
    """Plug a stick in; returns where it is mounted."""
    place = system.shared / "sticks" / stick.name
    place.parent.mkdir(exist_ok=True)
    stick.rename(place)
    return f"/shared/sticks/{stick.name}"


def slots(system: BootedSystem) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(system.run("/usr/bin/python3 -I /usr/lib/appliance/select.pyz status --json"))
    return told


def ticket(system: BootedSystem) -> dict[str, Any]:
    newest: dict[str, Any] = system.json("appliance update status --json")["tickets"][0]
    return newest


def settled(system: BootedSystem, timeout_s: float = 120) -> dict[str, Any]:
    """Wait until nothing is on trial and the service serves; returns the newest ticket."""
    system.wait_until(lambda: slots(system)["trial"] is None, "no trial is open", timeout_s)
    wait_ready(system)
    system.wait_until(lambda: ticket(system)["state"] != "TRIAL", "the ticket has its end", timeout_s)
    return ticket(system)


@pytest.fixture(scope="module")
def cabinet(system: BootedSystem, package: Path, owner: Owner) -> BootedSystem:
    """A sealed box with software 0.1.0 in slot A, where a model serves that a bundle brought."""
    system.boot()
    install(system, package)
    wait_ready(system)
    (system.shared / "root.json").write_bytes(owner.publisher.root)
    system.run(f"systemctl stop {UNIT}; mkdir -p /etc/systemd/system/{UNIT}.d")
    system.run("printf '[models]\\nload_timeout_s = 4\\n' > /etc/appliance/appliance.toml")
    # So that what never gets ready does not take minutes of a test.
    system.run(f"printf '[Service]\\nTimeoutStartSec=12\\n' > /etc/systemd/system/{UNIT}.d/quick.conf")
    system.run("systemctl daemon-reload")
    system.run("appliance provision --root /shared/root.json --serial A1 --hardware pc --site hall-1")
    system.run(f"systemctl start {UNIT}")
    wait_ready(system)
    system.run(f"appliance update apply {carry(system, owner.model('digits'))}")
    assert infers(system)
    return system


def test_good_software_is_tried_and_kept_and_what_served_serves(cabinet, owner):
    outcome = cabinet.json(f"appliance update apply {carry(cabinet, owner.release('0.2.0'))} --json")

    assert (outcome["result"], outcome["software"]) == ("INSTALLED", "0.2.0"), outcome
    assert settled(cabinet)["state"] == "CONFIRMED"
    assert slots(cabinet)["current"] == "B"
    assert "/var/lib/appliance/slots/B/site" in cabinet.run(
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
    starts = cabinet.show(UNIT, "NRestarts")["NRestarts"]
    cabinet.run("sleep 5")
    assert cabinet.show(UNIT, "NRestarts")["NRestarts"] == starts, "it alternates"
