"""A disk that is full at any point of an update: refused in words, what serves stays, and with room it installs."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.bundle.model_item import ModelItem
from appliance.bundle.ticket import Devices
from appliance.errors import ApplianceError
from appliance.publish.cutting import CutRequest
from tests.support.small_disk import mounted_small_disk
from tests.updates.boxes import ONE, TWO, Publisher, SealedBox, write_model

DISK_BYTES = 4 * 1024 * 1024
STEP_BYTES = 4096
WEIGHTS_BYTES = 200 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_small_disk(tmp_path / "disk", DISK_BYTES) as place:
        yield place


@pytest.mark.root
@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 16])
def test_a_disk_that_fills_up_anywhere_costs_nothing(publisher: Publisher, disk: Path, stride: int) -> None:
    template = SealedBox(disk / "box")
    template.seal(publisher.root)
    assert template.apply(publisher.stick(1)).code == 0
    newer = publisher.stick(2, weights=bytes(range(256)) * (WEIGHTS_BYTES // 256))
    saved = shutil.copytree(disk / "box", disk.parent / "saved", symlinks=True)
    answers = set()

    for free in range(0, 2 * WEIGHTS_BYTES, STEP_BYTES * stride):
        box = SealedBox(disk / "box")
        filler = fill_up(disk, free)
        answers.add(answer_of(box, newer))
        filler.unlink()
        assert box.desired() in (ONE, TWO)
        if box.desired() == ONE:
            assert box.apply(newer).code == 0, f"with {free} bytes free before"
        assert box.desired() == TWO
        with box.box() as opened:
            assert opened.registry.verify() == []
            assert opened.audit.verify() == [], f"with {free} bytes free"
        box.close()
        shutil.rmtree(disk / "box")
        shutil.copytree(saved, disk / "box", symlinks=True)

    assert answers <= {"NO_SPACE", "INSTALLED", "CannotWrite"}
    assert answers >= {"NO_SPACE", "INSTALLED"}


def fill_up(disk: Path, free_bytes: int) -> Path:
    filler = disk / "filler"
    filler.write_bytes(b"x" * max(0, shutil.disk_usage(disk).free - free_bytes))
    return filler


def answer_of(box: SealedBox, stick: Path) -> str:
    """A refusal, or the machine's own error: never a stack trace."""
    try:
        return box.apply(stick).result
    except ApplianceError as error:
        return type(error).__name__ if error.hint else error.message


@pytest.mark.root
def test_what_was_staged_needs_no_room_a_second_time(publisher: Publisher, disk: Path) -> None:
    box = SealedBox(disk / "box")
    box.seal(publisher.root)
    publisher.add(write_model(publisher.directory / "p", 1, weights=os.urandom(1 << 20)), part_bytes=1 << 16)
    stick = publisher.cut("stick", CutRequest(Devices(all=True)))
    last = weights_of(stick)[-2]
    data = last.read_bytes()
    last.write_bytes(b"!" * len(data))
    assert box.apply(stick).result == "HASH_MISMATCH"
    last.write_bytes(data)
    filler = fill_up(disk, 700 * 1024)

    assert box.apply(stick).code == 0
    filler.unlink()
    box.close()


def weights_of(stick: Path) -> list[Path]:
    """The parts of the model file, in order."""
    (target,) = stick.rglob("targets/models/factory/keeps/*.json")
    file = max(ModelItem.parse(target.read_bytes()).files.values(), key=lambda each: each.size_bytes)
    return [next(stick.rglob(part.digest.removeprefix("sha256:"))) for part in file.parts]
