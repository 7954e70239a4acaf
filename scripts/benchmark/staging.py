"""Staging: a large file from a medium into the blobs, against what the shell's tools need for the same.

Each round measures, on the same source with a cold page cache: our staging (Medium, read-ahead, part digests, the
whole file's digest, fsync, publishing), and two ways of the shell to copy durably and hash: in one pipe, which reads
the source once, and side by side. The quicker of those two counts.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from appliance.bundle.layout import BLOBS_DIRECTORY, BUNDLE_DIRECTORY, LARGEST_PART_BYTES, METADATA_DIRECTORY
from appliance.bundle.oci_layers import Part
from appliance.model.identity import Digest, digest_hex, digest_of_hex
from appliance.registry.model_registry import ModelRegistry
from appliance.registry.part_assembly import assemble
from appliance.state_layout import StateLayout
from appliance.updates.medium import Medium
from appliance.updates.read_ahead import chunks
from benchmark.document import update_document
from benchmark.goals import Goal
from benchmark.report import Machine, goal_table

DOCUMENT = Path(__file__).resolve().parents[2] / "BENCHMARKS.md"
SECTION = "staging"
GOAL_RATIO = 0.9
GOAL_EXTRA_BYTES = 64 * 1024 * 1024
_MIB = 1024 * 1024
PIPE = """
cat "$@" | tee >(dd of="$TARGET" bs=4M iflag=fullblock conv=fsync status=none; : > "$TARGET.done") | sha256sum
until [ -e "$TARGET.done" ]; do sleep 0.001; done
"""
BESIDE = """
cat "$@" | sha256sum &
for part in "$@"; do dd if="$part" of="$TARGET" bs=4M oflag=append conv=notrunc status=none; done
dd if=/dev/null of="$TARGET" oflag=append conv=notrunc,fsync status=none
wait
"""


@dataclass(frozen=True, slots=True)
class Source:
    """One file on a medium, in parts."""

    place: Path
    digest: Digest
    parts: tuple[Part, ...]

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def paths(self) -> list[Path]:
        """Where the parts lie."""
        blobs = self.place / BUNDLE_DIRECTORY / BLOBS_DIRECTORY
        return [blobs / digest_hex(part.digest) for part in self.parts]


@dataclass(frozen=True, slots=True)
class Round:
    """Bytes per second, each way; how much memory the staging took beyond that of the process."""

    staging: float
    pipe: float
    beside: float
    extra_bytes: int

    @property
    def ratio(self) -> float:
        """Against the quicker of the shell's ways."""
        return self.staging / max(self.pipe, self.beside)


def make_source(place: Path, size_bytes: int) -> Source:
    """Write a medium with one file of random bytes."""
    bundle = place / BUNDLE_DIRECTORY
    (bundle / METADATA_DIRECTORY).mkdir(parents=True)
    (bundle / METADATA_DIRECTORY / "timestamp.json").write_text("{}")  # by which a bundle is found
    blobs = bundle / BLOBS_DIRECTORY
    blobs.mkdir(parents=True)
    whole, parts = hashlib.sha256(), []
    for start in range(0, size_bytes, LARGEST_PART_BYTES):
        digest, written = hashlib.sha256(), 0
        with (blobs / "new").open("wb") as stream:
            while written < min(LARGEST_PART_BYTES, size_bytes - start):
                data = os.urandom(4 * _MIB)
                written += stream.write(data)
                digest.update(data)
                whole.update(data)
            os.fsync(stream.fileno())
        (blobs / "new").rename(blobs / digest.hexdigest())
        parts.append(Part(digest_of_hex(digest.hexdigest()), written))
    return Source(place, digest_of_hex(whole.hexdigest()), tuple(parts))


def stage(source: Source, state: Path) -> tuple[float, int]:
    """Bring the file into the blobs of a new state directory. Returns seconds, and bytes of memory taken for it."""
    layout = StateLayout(state)
    with ModelRegistry.open(layout) as registry, Medium.open(source.place) as medium:

        def open_part(part: Part) -> Iterator[memoryview]:
            with medium.open_file(f"{BLOBS_DIRECTORY}/{digest_hex(part.digest)}") as stream:
                yield from chunks(stream)

        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before_bytes = memory_bytes("VmRSS")
        begin_s = time.perf_counter()
        assemble(source.digest, source.parts, open_part, layout.partial_blobs, registry.blobs, lambda _: None)
        took_s = time.perf_counter() - begin_s
        extra_bytes = memory_bytes("VmHWM") - before_bytes
        registry.blobs.delete(source.digest)
    return took_s, extra_bytes


def memory_bytes(kind: str) -> int:
    """Read one line of what the kernel says of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[kind].split()[0]) * 1024


def stage_in_child(source: Source, folder: Path) -> tuple[float, int]:
    """Stage in a process of its own, whose memory nothing else has shaped."""
    order = {
        "place": str(source.place),
        "digest": source.digest,
        "parts": [(part.digest, part.size_bytes) for part in source.parts],
        "state": str(folder / "state"),
    }
    command = [sys.executable, "-m", "benchmark.staging", "--stage", json.dumps(order)]
    took_s, extra_bytes = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return took_s, extra_bytes


def run_order(text: str) -> None:
    order = json.loads(text)
    parts = tuple(Part(Digest(digest), size_bytes) for digest, size_bytes in order["parts"])
    source = Source(Path(order["place"]), Digest(order["digest"]), parts)
    sys.stdout.write(json.dumps(stage(source, Path(order["state"]))))


def run_shell(script: str, source: Source, folder: Path) -> float:
    """Copy durably and hash with the shell's tools. Returns seconds."""
    target = folder / "copy"
    command = ["bash", "-c", script, "staging", *map(str, source.paths)]
    begin_s = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"TARGET": str(target)})
    took_s = time.perf_counter() - begin_s
    target.unlink()
    Path(f"{target}.done").unlink(missing_ok=True)
    return took_s


def forget_cached(source: Source) -> None:
    """Let the next reading come from the disk."""
    for path in source.paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(source: Source, folder: Path) -> Round:
    """One round of all ways."""
    forget_cached(source)
    staging_s, extra_bytes = stage_in_child(source, folder)
    forget_cached(source)
    pipe_s = run_shell(PIPE, source, folder)
    forget_cached(source)
    beside_s = run_shell(BESIDE, source, folder)
    size = source.size_bytes
    return Round(size / staging_s, size / pipe_s, size / beside_s, extra_bytes)


def judge(rounds: list[Round], size_bytes: int) -> list[Goal]:
    """Say whether the goals are met."""
    ratios = [each.ratio for each in rounds]
    extra_bytes = max(each.extra_bytes for each in rounds)
    subject = f"{size_bytes / 2**30:g} GiB"
    rate = median(ratios)
    found = f"{rate:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return [
        Goal(
            subject,
            "rate against dd with fsync and sha256sum",
            f">= {GOAL_RATIO}",
            found,
            median(ratios) >= GOAL_RATIO,
        ),
        Goal(
            subject,
            "memory taken",
            f"< {GOAL_EXTRA_BYTES // _MIB} MiB",
            f"{extra_bytes / _MIB:.0f} MiB",
            extra_bytes < GOAL_EXTRA_BYTES,
        ),
    ]


def render(machine: Machine, rounds: list[Round], goals: list[Goal]) -> str:
    """Write the section."""
    ways = {
        "staging": [each.staging for each in rounds],
        "cat, tee, dd conv=fsync, sha256sum in one pipe": [each.pipe for each in rounds],
        "dd conv=fsync beside cat and sha256sum": [each.beside for each in rounds],
    }
    rows = [
        f"| {name} | {median(rates) / 1e6:.0f} MB/s | {min(rates) / 1e6:.0f} to {max(rates) / 1e6:.0f} |"
        for name, rates in ways.items()
    ]
    table = "\n".join(["| way | median | range |", "| --- | ---: | ---: |", *rows])
    method = (
        f"`scripts/bench-staging`: one file in parts of {LARGEST_PART_BYTES // _MIB} MiB, medium and blobs on one "
        f"disk, the source not in the page cache; rounds: {len(rounds)}, all ways in turn. Staging hashes every part "
        "and the whole file; the others hash it once."
    )
    return "\n\n".join(["## Staging", machine.sentence(), method, goal_table(goals), table])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench-staging", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=float, default=4, metavar="GIB", help="size of the file (default 4)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where to work; twice the size must be free")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the section to FILE, not to BENCHMARKS.md")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    if arguments.stage:
        run_order(arguments.stage)
        return
    machine = Machine.of_this_moment()
    with TemporaryDirectory(prefix="bench-staging-", dir=arguments.directory) as folder:
        source = make_source(Path(folder) / "medium", int(arguments.size * 2**30))
        rounds = [measure(source, Path(folder)) for _ in range(arguments.rounds)]
    section = render(machine, rounds, judge(rounds, source.size_bytes))
    if arguments.out:
        arguments.out.write_text(section + "\n")
    else:
        update_document(DOCUMENT, SECTION, section)


if __name__ == "__main__":
    main()
