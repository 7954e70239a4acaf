"""A sealed box that serves one signed model, and a backup of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.maintenance.custody import SEALED_SERIAL, Cabinet
from tests.updates.boxes import Publisher, SealedBox
from tests.updates.conftest import ceremony, publisher

__all__ = ["ceremony", "publisher"]  # fixtures


@pytest.fixture(scope="session")
def furnished(ceremony: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An owner's station (`owner`) and a box (`state`) that has installed version 1 and settings of its site."""
    directory = tmp_path_factory.mktemp("furnished")
    shutil.copytree(ceremony, directory / "owner")
    owner = Publisher(directory / "owner")
    owner.add_settings(b'[log]\nlevel = "DEBUG"\n')
    box = SealedBox(directory / "state")
    box.seal(owner.root, serial=SEALED_SERIAL)
    owner.stick(1, answer=1.0)
    stick = owner.cut("one-with-settings")
    assert box.apply(stick).code == 0
    box.close()
    return directory


@pytest.fixture
def cabinet(furnished: Path, tmp_path: Path) -> Iterator[Cabinet]:
    """A copy of that box, to be spoilt."""
    shutil.copytree(furnished, tmp_path / "cabinet", symlinks=True)
    cabinet = Cabinet(tmp_path / "cabinet")
    yield cabinet
    cabinet.box.close()
