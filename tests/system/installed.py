"""What the tests do on a machine with the appliance: install, wait, infer."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Load:
    """Four clients that infer all the time."""

    process: "subprocess.Popen[bytes]"
    shared: Path
    words: list[str] = field(default_factory=list)  # of the failed requests

    def end(self) -> dict[str, int]:
        """Answered, wrong, failed (taken, and no answer came) and refused (nobody was there) requests."""
        time.sleep(0.5)
        (self.shared / "end").touch()
        output, _ = self.process.communicate(timeout=60)
        *self.words, counted = output.decode().splitlines()
        counts: dict[str, int] = json.loads(counted)
        return counts


@contextlib.contextmanager
def load_on(system: BootedSystem) -> Iterator[Load]:
    """Infer from four clients; lent when the first answers have come."""
    shutil.copy2(Path(__file__).with_name("load.py"), system.shared)
    for name in ("loaded", "end"):
        (system.shared / name).unlink(missing_ok=True)
    load = Load(system.start(f"/usr/bin/python3 -I -B /shared/load.py {SITE}"), system.shared)
    try:
        system.wait_until((system.shared / "loaded").exists, "the load runs")
        yield load
    finally:
        (system.shared / "end").touch()  # a process that came from outside keeps the machine from powering off
        load.process.wait(60)
