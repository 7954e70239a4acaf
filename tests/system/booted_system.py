"""A machine for tests: this system's own systemd in namespaces of its own, with a disk that outlives its power.

Nothing is downloaded and nothing on the host changes. It needs root, namespaces, overlayfs and cgroup v2. Limits
of memory are not enforced in it.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ENTER = Path(__file__).with_name("enter_guest.sh")
BOOT_S = 60.0
_INIT = b"/lib/systemd/systemd --unit=multi-user.target"


class NotPossibleHere(Exception):
    """This machine, or this user, cannot build such a machine."""


class BootedSystem:
    """One machine. `disk`: a directory of its own; `boot` and `power_cut` as often as wanted."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.shared = disk / "shared"
        self._outer: subprocess.Popen[bytes] | None = None
        self._init_pid = 0
        self._cgroup: Path | None = None
        for name in ("upper", "work", "root", "shared"):
            (disk / name).mkdir(parents=True, exist_ok=True)

    def boot(self, network: str = "lo") -> float:
        """Start the machine and wait until systemd has settled; returns the seconds that took."""
        assert self._outer is None, "it runs already"
        self._cgroup = _make_cgroup()
        log = (self.disk / "console.log").open("ab")
        started = time.monotonic()
        with log:
            self._outer = subprocess.Popen(
                [ENTER, self.disk, self._cgroup, network],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._init_pid = self._wait_for_init()
        self.wait_until(self._settled, "systemd has settled", BOOT_S)
        return time.monotonic() - started

    def run(self, command: str, *, check: bool = True, timeout_s: float = 120) -> str:
        """Run a shell command in the machine; returns standard output and error together."""
        done = subprocess.run(
            self._inside(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, check=False
        )
        output = done.stdout.decode(errors="replace")
        if check and done.returncode:
            raise AssertionError(f"{command!r} ended with {done.returncode}:\n{output}")
        return output

    def status_of(self, command: str, *, timeout_s: float = 120) -> int:
        """Run a shell command in the machine and return its exit status."""
        return subprocess.run(
            self._inside(command),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        ).returncode

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        """Start a shell command in the machine and do not wait for it."""
        return subprocess.Popen(self._inside(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """Ask systemd for properties of a unit."""
        wanted = ",".join(names)
        lines = self.run(f"systemctl show {unit} --property={wanted}").splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def json(self, command: str) -> Any:
        """Run a command whose standard output is JSON."""
        return json.loads(self.run(f"{command} 2>/dev/null"))

    def wait_until(self, true: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        """Wait for something to become true."""
        deadline = time.monotonic() + timeout_s
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n{self._last_words()}")
            time.sleep(0.1)

    def power_cut(self) -> None:
        """Kill everything at once; the disk keeps what it has."""
        if self._outer is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._init_pid, signal.SIGKILL)
        self._ended()

    def power_off(self) -> None:
        """Shut down in order."""
        self.run("systemctl poweroff --no-block")
        assert self._outer is not None
        try:
            self._outer.wait(BOOT_S)
        finally:
            self.power_cut()

    def _ended(self) -> None:
        assert self._outer is not None
        self._outer.kill()
        self._outer.wait()
        self._outer = None
        if self._cgroup is not None:
            _remove_cgroup(self._cgroup)

    def _inside(self, command: str) -> list[str]:
        return [
            *("nsenter", "-t", str(self._init_pid), "-m", "-p", "-u", "-i", "-n", "-C", "-r", "-w"),
            *("/usr/bin/env", "-i", "TERM=dumb", "LANG=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
            *("/bin/bash", "-c", command),
        ]

    def _wait_for_init(self) -> int:
        assert self._outer is not None
        deadline = time.monotonic() + BOOT_S
        while time.monotonic() < deadline:
            if self._outer.poll() is not None:
                self._ended()
                raise NotPossibleHere((self.disk / "console.log").read_text(errors="replace").strip()[-2000:])
            for pid in _descendants(self._outer.pid):
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").strip() == _INIT:
                        return pid
            time.sleep(0.05)
        self.power_cut()
        raise NotPossibleHere("systemd did not start")

    def _settled(self) -> bool:
        return self.run("systemctl is-system-running", check=False).strip() in ("running", "degraded")

    def _last_words(self) -> str:
        with contextlib.suppress(Exception):
            return self.run("systemctl --failed --no-pager; journalctl -b --no-pager -n 60", check=False)
        return ""


@contextlib.contextmanager
def machine(disk: Path) -> Iterator[BootedSystem]:
    """Lend a machine that is off; whatever becomes of the test, nothing of it is left."""
    system = BootedSystem(disk)
    try:
        yield system
    finally:
        system.power_cut()
        shutil.rmtree(disk, ignore_errors=True)


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _make_cgroup() -> Path:
    """Make a leaf of our own: the machine must not build its slices in the host's root."""
    lines = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    mounted = next((Path(fields[1]) for fields in lines if fields[2] == "cgroup2"), None)
    if mounted is None:
        raise NotPossibleHere("no cgroup v2 is mounted")
    leaf = mounted / f"appliance-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        leaf.mkdir()
    except OSError as error:
        raise NotPossibleHere(f"{leaf}: {error.strerror}") from error
    return leaf


def _remove_cgroup(leaf: Path) -> None:
    for _ in range(50):
        for directory in sorted(leaf.rglob("*"), reverse=True):
            if directory.is_dir():
                with contextlib.suppress(OSError):
                    directory.rmdir()
        with contextlib.suppress(OSError):
            leaf.rmdir()
            return
        time.sleep(0.1)
