"""A disk that is full at any point of an update: refused in words, what serves stays, and with room it installs."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from tests.support.small_disk import mounted_small_disk
from tests.updates.boxes import ONE, TWO, Publisher, SealedBox

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

    assert answers <= {"NO_SPACE", "INSTALLED", "Failed"}
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
