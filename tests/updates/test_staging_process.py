"""Content that comes through a process of its own: what arrives, what is refused, and who outlives whom."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from appliance.bundle.model_item import ModelItem
from appliance.bundle.oci_layers import ItemFile
from appliance.bundle.refusal import UpdateRefused
from appliance.errors import Cancelled, Failed
from appliance.model.identity import Digest, digest_hex
from appliance.updates.medium import Medium
from appliance.updates.staging_process import bring_beside_clients
from tests.updates.boxes import Publisher, SealedBox, write_model

ROOT = Path(__file__).parents[2]
WEIGHTS = b"".join(number.to_bytes(4, "big") for number in range(4096))
PART_BYTES = 4096
PARENT = """
import os, sys
from tests.updates.test_staging_process import stick_files
from appliance.state_layout import StateLayout
from appliance.updates.medium import Medium
from appliance.updates.staging_process import bring_beside_clients
from pathlib import Path

def die(digest, more_bytes):
    os._exit(7)

with Medium.open(Path(sys.argv[2])) as medium:
    bring_beside_clients(StateLayout(Path(sys.argv[1])), medium, stick_files(Path(sys.argv[2])), die)
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def stick(publisher: Publisher) -> Path:
    """With a file of four whole parts and a bit."""
    publisher.add(write_model(publisher.directory / "packages", 1, weights=WEIGHTS), part_bytes=PART_BYTES)
    return publisher.cut("stick")


def stick_files(stick: Path) -> Sequence[ItemFile]:
    (target,) = stick.rglob("targets/models/factory/keeps/*.json")
    return list(ModelItem.parse(target.read_bytes()).files.values())


def bring(box: SealedBox, stick: Path, advance: object = None) -> dict[Digest, int]:
    """Bring everything; returns how many bytes of each file were told of."""
    told: dict[Digest, int] = {}

    def count(digest: Digest, more_bytes: int) -> None:
        told[digest] = told.get(digest, 0) + more_bytes

    with Medium.open(stick) as medium:
        bring_beside_clients(box.layout, medium, stick_files(stick), advance or count)  # type: ignore[arg-type]
    return told


def copying() -> list[psutil.Process]:
    """The processes that copy for this one; other tests may have children of their own."""
    return [process for process in copying_anywhere() if process.info["ppid"] == os.getpid()]


def test_everything_arrives_and_is_told_of(box: SealedBox, stick: Path) -> None:
    with box.box():
        told = bring(box, stick)

    assert told == {file.digest: file.size_bytes for file in stick_files(stick)}
    for file in stick_files(stick):
        assert (box.layout.blobs / "sha256" / digest_hex(file.digest)).stat().st_size == file.size_bytes
    assert copying() == []


def test_a_refusal_comes_with_its_class_and_its_facts(box: SealedBox, stick: Path) -> None:
    file = max(stick_files(stick), key=lambda each: each.size_bytes)
    part = next(stick.rglob(digest_hex(file.parts[2].digest)))
    part.write_bytes(b"!" * PART_BYTES)

    with box.box(), pytest.raises(UpdateRefused, match="part 3 of 5") as caught:
        bring(box, stick)
    assert caught.value.reason.name == "HASH_MISMATCH"
    assert caught.value.facts["file"] == file.digest
    assert caught.value.hint
    assert copying() == []


def test_a_stop_ends_the_child_and_the_next_attempt_goes_on(box: SealedBox, stick: Path) -> None:
    def stop(digest: Digest, more_bytes: int) -> None:
        raise Cancelled("the appliance is stopping")

    with box.box():
        with pytest.raises(Cancelled):
            bring(box, stick, stop)
        assert copying() == []
        bring(box, stick)


def test_a_child_that_is_killed_is_told_and_leaves_nothing_that_disturbs(box: SealedBox, stick: Path) -> None:
    def kill(digest: Digest, more_bytes: int) -> None:
        for process in copying():
            process.kill()

    fifo = max(stick_files(stick), key=lambda each: each.size_bytes).parts[4]
    path = next(stick.rglob(digest_hex(fifo.digest)))
    data = path.read_bytes()
    path.unlink()
    os.mkfifo(path)  # so that it cannot be done before it is killed

    with box.box():
        with pytest.raises((Failed, UpdateRefused)):
            bring(box, stick, kill)
        path.unlink()
        path.write_bytes(data)
        bring(box, stick)


def test_a_parent_that_dies_takes_its_child_along(box: SealedBox, stick: Path) -> None:
    with box.box():
        line = [sys.executable, "-c", PARENT, str(box.layout.root), str(stick)]
        assert subprocess.run(line, cwd=ROOT, check=False, timeout=60).returncode == 7
        deadline_s = time.monotonic() + 10
        while copying_anywhere():
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        bring(box, stick)


def copying_anywhere() -> list[psutil.Process]:
    """Of anybody, such as a parent that is gone."""
    running = psutil.process_iter(["cmdline", "ppid"])
    return [process for process in running if "staging_child" in " ".join(process.info["cmdline"] or ())]
