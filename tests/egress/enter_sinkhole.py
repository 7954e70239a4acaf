"""Process 1 of a box whose every way out is the sink-hole: builds the box, runs one command in it, takes stock.

Run by `sinkhole_namespace` as `unshare --net --mount --pid ... python -m tests.egress.enter_sinkhole DIRECTORY`,
where DIRECTORY holds `order.json`. Leaves `events.jsonl` and `outcome.json` there.

The box has its own network (default route and DNS lead to the sink-hole), its own processes, and sees every file
system through an overlay: the command may write anywhere, and what it wrote outside the directories lent to it is
exactly what lies in the overlays afterwards. When this process ends, the kernel ends every other process and
namespace of the box.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.egress.sinkhole import BOX_V4, BOX_V6, IPV6, PATIENCE_S, WORLD_V4, WORLD_V6

ROOT = Path(__file__).resolve().parents[2]
SYSTEM_MOUNTS = ("/proc", "/sys", "/dev", "/run")  # the box has its own
NETWORK = f"""\
link set lo up
addr add {BOX_V4}/30 dev e0
link set e0 up
route add default via {WORLD_V4}
"""
NETWORK_V6 = f"""\
addr add {BOX_V6}/126 dev e0 nodad
route add default via {WORLD_V6}
"""


@dataclass(frozen=True, slots=True)
class Order:
    """What to run in the box. `writable`: directories shared with the outside."""

    command: list[str]
    directory: str
    environment: dict[str, str]
    writable: list[str]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Stock:
    """What the command left behind. `returncode` is None if it ran out of time."""

    returncode: int | None
    written: list[str]
    survivors: list[str]


@dataclass(frozen=True, slots=True)
class Layer:
    """A directory that receives what the box writes below `mount`; `lower` is what it saw there at first."""

    mount: Path
    upper: Path
    lower: Path | None

    def written(self) -> Iterator[tuple[str, int]]:
        """Yield path and modification time of everything made, changed or deleted, as the box names it."""
        for directory, names, files in os.walk(self.upper):
            for name in (*names, *files):
                entry = Path(directory, name)
                relative = entry.relative_to(self.upper)
                status = entry.lstat()
                if stat.S_ISDIR(status.st_mode) and self.lower and (self.lower / relative).is_dir():
                    continue  # only there to hold what was written below it
                yield str(self.mount / relative), status.st_mtime_ns


class Box:
    """The file systems of the box, below `workspace`."""

    def __init__(self, workspace: Path) -> None:
        self.root = workspace / "root"
        self._workspace = workspace
        self._layers: list[Layer] = []
        self._before: set[tuple[str, int]] = set()

    def build(self, writable: list[str]) -> None:
        """Mount everything; from the end of this on, `written` tells what was written."""
        self._workspace.mkdir()
        _run("mount", "-t", "tmpfs", "tmpfs", str(self._workspace))
        self.root.mkdir()
        for mount in _real_mounts():
            self._overlay(mount)
        _run("mount", "-t", "proc", "proc", f"{self.root}/proc")
        _run("mount", "-t", "sysfs", "-o", "ro", "sysfs", f"{self.root}/sys")
        _run("mount", "--rbind", "/dev", f"{self.root}/dev")
        self._fresh(Path("/dev/shm"))
        self._fresh(Path("/run"))  # hides the host's sockets: name service, D-Bus
        for directory in writable:
            _run("mount", "--bind", directory, f"{self.root}{directory}")
        resolver = self.root / "etc/resolv.conf"
        resolver.unlink(missing_ok=True)
        resolver.write_text(f"nameserver {WORLD_V4}\n")
        self._before = self._state()

    def written(self) -> list[str]:
        """Name every path outside `writable` that was made, changed or deleted since `build`."""
        return sorted({path for path, _ in self._state() - self._before})

    def _state(self) -> set[tuple[str, int]]:
        return {entry for layer in self._layers for entry in layer.written()}

    def _overlay(self, mount: Path) -> None:
        number = len(self._layers)
        upper, work = self._workspace / f"upper{number}", self._workspace / f"work{number}"
        upper.mkdir()
        work.mkdir()
        options = f"lowerdir={mount},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "overlay", "-o", options, f"{self.root}{mount}")
        self._layers.append(Layer(mount, upper, mount))

    def _fresh(self, mount: Path) -> None:
        inside = Path(f"{self.root}{mount}")
        _run("mount", "-t", "tmpfs", "tmpfs", str(inside))
        self._layers.append(Layer(mount, inside, None))


def main() -> None:
    """Build, run, take stock."""
    directory = Path(sys.argv[1])
    order = Order(**json.loads((directory / "order.json").read_text()))
    box = Box(directory / "box")
    box.build(order.writable)
    sinkhole = _open_sinkhole(directory / "events.jsonl")
    returncode = _run_in(box.root, order)
    survivors = list(_processes_besides(os.getpid(), sinkhole.pid))
    sinkhole.communicate(timeout=PATIENCE_S)
    if sinkhole.returncode != 0:
        raise SystemExit(f"the sink-hole ended with {sinkhole.returncode}, its log may be incomplete")
    stock = Stock(returncode, box.written(), survivors)
    (directory / "outcome.json").write_text(json.dumps(asdict(stock)))


def _open_sinkhole(log: Path) -> "subprocess.Popen[str]":
    command = ["unshare", "--net", sys.executable, "-m", "tests.egress.sinkhole", str(log)]
    sinkhole = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert sinkhole.stdin
    assert sinkhole.stdout
    _expect("started", sinkhole.stdout.readline())
    _run("ip", "link", "add", "e0", "type", "veth", "peer", "name", "w0", "netns", str(sinkhole.pid))
    network = NETWORK + (NETWORK_V6 if IPV6 else "")
    sinkhole.stdin.write("the link is there\n")
    sinkhole.stdin.flush()
    _expect("ready", sinkhole.stdout.readline())
    subprocess.run(["ip", "-batch", "-"], input=network, text=True, check=True, timeout=PATIENCE_S)
    return sinkhole


def _expect(word: str, line: str) -> None:
    if line.strip() != word:
        raise SystemExit(f"the sink-hole said {line!r} instead of {word!r}")


def _run_in(root: Path, order: Order) -> int | None:
    enter = ["unshare", f"--root={root}", f"--wd={order.directory}", "--"]
    command = subprocess.Popen([*enter, *order.command], env=order.environment, stdin=subprocess.DEVNULL)
    try:
        return command.wait(order.timeout_s)
    except subprocess.TimeoutExpired:
        command.kill()
        return None


def _processes_besides(*known: int) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in known:
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it ended meanwhile
            if words != [b""]:
                yield b" ".join(words).decode("utf-8", "replace").strip()


def _real_mounts() -> list[Path]:
    """List the directories where the outside has file systems, parents first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = dict.fromkeys(Path(line.split()[4].encode().decode("unicode_escape")) for line in lines)
    ours = (point for point in points if not any(map(point.is_relative_to, SYSTEM_MOUNTS)))
    return sorted(filter(Path.is_dir, ours), key=lambda point: len(point.parts))


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if result.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {result.stderr.strip()}")


if __name__ == "__main__":
    main()
