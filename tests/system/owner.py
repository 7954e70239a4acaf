"""The owner of a machine under test: signs models and releases of this checkout, and carries them to the machine."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from appliance.bundle.ticket import Devices
from appliance.publish.cutting import CutRequest
from appliance.publish.items import add_model
from appliance.publish.software import add_software
from appliance.slots.tree import DESCRIPTION, read_software, write_file_list
from tests.system.booted_system import BootedSystem
from tests.system.installed import UNIT, infers, install, wait_ready
from tests.updates.boxes import PUBLISHER, Publisher, silent

ROOT = Path(__file__).resolve().parents[2]
SIGNS = "site/appliance/daemon/life_signs.py"
Change = tuple[str, str, str]  # file of a tree, what stands there, what shall
# Waits of minutes become waits of seconds; what is decided after them stays.
QUICK = (
    ("site/appliance/daemon/update_room.py", "PROOF_AFTER_S = 10.0", "PROOF_AFTER_S = 3.0"),
    (SIGNS, "_EXTENSION_S = 30.0", "_EXTENSION_S = 4.0"),
)


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


def seal(system: BootedSystem, package: Path, owner: Owner) -> None:
    """Make it a sealed box with software 0.1.0 in slot A, where a model serves that a bundle brought."""
    system.boot()
    install(system, package)
    wait_ready(system)
    (system.shared / "root.json").write_bytes(owner.publisher.root)
    system.run(f"systemctl stop {UNIT}; mkdir -p /etc/systemd/system/{UNIT}.d")
    system.run(
        "printf '[server]\\ndrain_timeout_s = 3\\n[models]\\nload_timeout_s = 4\\n' > /etc/appliance/appliance.toml"
    )
    # So that what never gets ready does not take minutes of a test.
    system.run(f"printf '[Service]\\nTimeoutStartSec=12\\n' > /etc/systemd/system/{UNIT}.d/quick.conf")
    system.run("systemctl daemon-reload")
    system.run("appliance provision --root /shared/root.json --serial A1 --hardware pc --site hall-1")
    system.run(f"systemctl start {UNIT}")
    wait_ready(system)
    system.run(f"appliance update apply {carry(system, owner.model('digits'))}")
    assert infers(system)
