"""What each unit may do, held line by line: a directive that is lost shows here, and one that is not needed too."""

import json
import shutil
import subprocess
from pathlib import Path
from types import MappingProxyType

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")

# What is left open, as systemd names it, with the reason.
SERVICE = MappingProxyType(
    {
        "SystemCallFilter_resources": "ONNX Runtime pins its threads",
        "RootDirectoryOrRootImage": "it runs with this host's Python",
        "RestrictAddressFamilies_AF_UNIX": "clients call over a socket",
        "RestrictAddressFamilies_AF_INET_INET6": "clients call over the network",
        "ProcSubset": "pid would hide the processor from ONNX Runtime and the driver from CUDA",
        "PrivateNetwork": "clients call over the network",
        "PrivateUsers": "it would hide who calls over the socket",
        "DeviceAllow": "ProtectClock= lets the hardware clock be read",
        "IPAddressDeny": "private networks may call",
    }
)
GPU = MappingProxyType(
    {
        "SupplementaryGroups": "the device nodes belong to video and render",
        "PrivateDevices": "it would hide the GPU",
        "MemoryDenyWriteExecute": "CUDA compiles kernels into memory",
    }
)


def exposed(unit: Path) -> set[str]:
    """Name what the analysis of a unit finds open."""
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", unit]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {row["json_field"] for row in rows if not row["set"] and float(row["exposure"] or 0) > 0}


def within(unit: Path, threshold: int) -> bool:
    """Whether a unit's exposure is at most `threshold` tenths."""
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}", unit]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def with_drop_in(tmp_path: Path, name: str) -> Path:
    unit = tmp_path / "appliance.service"
    shutil.copy2(UNITS / "appliance.service", unit)
    (tmp_path / "appliance.service.d").mkdir()
    shutil.copy2(UNITS / "drop-ins" / f"{name}.conf", tmp_path / "appliance.service.d")
    return unit


def test_the_service_leaves_open_what_it_needs_and_nothing_else():
    assert exposed(UNITS / "appliance.service") == set(SERVICE)
    assert within(UNITS / "appliance.service", 13)


@pytest.mark.parametrize("name", ["gpu", "jetson"])
def test_a_box_with_a_gpu_opens_its_devices_and_nothing_else(tmp_path, name):
    unit = with_drop_in(tmp_path, name)

    assert exposed(unit) == {*SERVICE, *GPU}
    assert within(unit, 18)


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("appliance-boot-check.service", 10),
        ("appliance-drop.service", 10),
        ("appliance-scrub.service", 10),
        ("appliance-software@.service", 13),
        ("appliance-failure@.service", 15),
        ("appliance-update@.service", 25),
    ],
)
def test_what_runs_beside_the_service_is_confined_too(name, threshold):
    assert within(UNITS / name, threshold)


def test_the_analysis_tells_a_confined_service_from_an_open_one(tmp_path):
    unit = tmp_path / "open.service"
    unit.write_text("[Service]\nExecStart=/bin/true\nUser=nobody\n")

    assert not within(unit, 50)
    assert len(exposed(unit)) > 40


def test_every_service_stands_in_the_documents_of_its_threshold():
    listed = {"appliance.service", "appliance-boot-check.service", "appliance-drop.service"}
    listed |= {"appliance-scrub.service", "appliance-failure@.service", "appliance-update@.service"}
    listed |= {"appliance-software@.service"}

    assert {unit.name for unit in UNITS.glob("*.service")} == listed
