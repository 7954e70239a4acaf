"""A station after its ceremony, made once; a box that it sealed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.bundle.policy import Policy
from tests.updates.boxes import Publisher, SealedBox


@pytest.fixture(scope="session")
def ceremony(tmp_path_factory: pytest.TempPathFactory) -> Path:
    publisher = Publisher(tmp_path_factory.mktemp("ceremony"))
    publisher.hold_ceremony()
    return publisher.directory


@pytest.fixture
def publisher(ceremony: Path, tmp_path: Path) -> Publisher:
    directory = tmp_path / "owner"
    shutil.copytree(ceremony, directory)
    return Publisher(directory)


@pytest.fixture
def box(publisher: Publisher, tmp_path: Path) -> Iterator[SealedBox]:
    box = SealedBox(tmp_path / "state")
    box.seal(publisher.root)
    yield box
    box.close()


@pytest.fixture
def lenient(tmp_path: Path) -> Publisher:
    """An owner whose operators may accept what is a month late."""
    publisher = Publisher(tmp_path / "lenient")
    publisher.hold_ceremony(Policy(allow_expired_days=30))
    return publisher
