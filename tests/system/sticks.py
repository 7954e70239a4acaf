"""Sticks that are plugged into a machine without udev: block devices whose file systems a test can read again."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.booted_system import BootedSystem

STICK_BYTES = 32 * 1024 * 1024
# systemd mounts no device that udev did not announce. Behind another path the same device is none to it.
SHIM = """#!/bin/sh
echo "$*" >> /var/sticks/mounted
for argument; do
    shift
    case $argument in /dev/sd*) argument=/var/sticks/${argument#/dev/} ;; esac
    set -- "$@" "$argument"
done
exec /usr/bin/systemd-mount "$@"
"""


def let_systemd_mount(system: BootedSystem) -> None:
    """Let the machine's systemd mount sticks that `plugged` brings."""
    (system.shared / "systemd-mount").write_text(SHIM)
    system.run("mkdir -p /var/sticks; install -m 755 /shared/systemd-mount /usr/local/bin/systemd-mount")


def mounts(system: BootedSystem) -> list[str]:
    """With which options sticks were mounted since this was last asked."""
    calls = system.run("touch /var/sticks/mounted; cat /var/sticks/mounted; rm /var/sticks/mounted").splitlines()
    return [
        word.removeprefix("--options=") for call in calls for word in call.split() if word.startswith("--options=")
    ]


@contextlib.contextmanager
def plugged(
    system: BootedSystem, content: Path, name: str, *, write_protected: bool = False, features: str = ""
) -> Iterator[None]:
    """Make a stick of a folder, with features of its ext4, and plug it in as /dev/NAME."""
    image = system.shared / f"{name}.img"
    with image.open("wb") as stream:
        stream.truncate(STICK_BYTES)
    subprocess.run(["mkfs.ext4", "-q", "-L", "APPLIANCE", "-d", content, image], check=True, capture_output=True)
    if features:
        subprocess.run(["tune2fs", "-O", features, image], check=True, capture_output=True)
    read_only = ["--read-only"] if write_protected else []
    looped = subprocess.run(
        ["losetup", "--find", "--show", *read_only, image], capture_output=True, text=True, check=False
    )
    if looped.returncode:
        pytest.skip(f"loop devices are not permitted here: {looped.stderr.strip()}")
    device = Path(looped.stdout.strip())
    number = device.stat().st_rdev
    try:
        node = f"b {os.major(number)} {os.minor(number)}"
        system.run(f"mknod -m 600 /dev/{name} {node}; mknod -m 600 /var/sticks/{name} {node}")
        yield
        system.run(f"rm /dev/{name} /var/sticks/{name}")
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def receipts_on(system: BootedSystem, name: str) -> list[str]:
    """Which receipts lie on a stick that was pulled out."""
    listed = subprocess.run(
        ["debugfs", "-R", "ls -p /RECEIPTS", system.shared / f"{name}.img"],
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(line.split("/")[5] for line in listed.stdout.splitlines() if ".json" in line or ".tmp" in line)
