"""What the tests do on a machine with the appliance: install, wait, infer."""

import json
import shutil
import subprocess
import time
from pathlib import Path

from tests.system.booted_system import BootedSystem

UNIT = "appliance.service"
ROOT = Path(__file__).resolve().parents[2]
SITE = "/usr/lib/appliance/rescue/site"
INFER = "appliance infer digits --input pixel_values=/shared/models/digits/golden/seven.png --json"


def install(system: BootedSystem, package: Path) -> str:
    """Install the package as a person does, and put the shipped models where the machine sees them."""
    shutil.copy2(package, system.shared)
    shutil.copytree(ROOT / "models", system.shared / "models", dirs_exist_ok=True)
    return system.run(f"apt-get install --yes /shared/{package.name}", timeout_s=300)


def add_models(system: BootedSystem) -> None:
    """Put the shipped models into the registry and let them serve."""
    for name in ("digits", "breast-cancer"):
        system.run(f"appliance models add /shared/models/{name} && appliance models activate {name} 1")


def wait_ready(system: BootedSystem, timeout_s: float = 60) -> None:
    """Wait until systemd has heard READY."""
    system.wait_until(
        lambda: system.run(f"systemctl is-active {UNIT}", check=False).strip() == "active", "READY", timeout_s
    )


def main_pid(system: BootedSystem) -> int:
    """Return the daemon's process, as the machine counts."""
    return int(system.show(UNIT, "MainPID")["MainPID"])


def infers(system: BootedSystem) -> bool:
    """Whether a real picture gets the right answer."""
    return system.status_of(f"{INFER} | grep -q 7") == 0


def start_load(system: BootedSystem) -> "subprocess.Popen[bytes]":
    """Infer all the time from four clients, until `end_load`; returns when the first answers have come."""
    shutil.copy2(Path(__file__).with_name("load.py"), system.shared)
    for name in ("loaded", "end"):
        (system.shared / name).unlink(missing_ok=True)
    load = system.start(f"/usr/bin/python3 -I -B /shared/load.py {SITE}")
    system.wait_until((system.shared / "loaded").exists, "the load runs")
    return load


def end_load(system: BootedSystem, load: "subprocess.Popen[bytes]") -> dict[str, int]:
    """End the load; answered, wrong, failed (taken, and no answer came) and refused (nobody was there) requests."""
    time.sleep(0.5)
    (system.shared / "end").touch()
    output, _ = load.communicate(timeout=60)
    counted: dict[str, int] = json.loads(output.decode().splitlines()[-1])
    return counted
