"""State directories with short paths, and one daemon that all tests which only ask may share."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.model.datatype import Datatype
from tests.cli.terminal import MODELS, Terminal

IMAGE_MODEL = """
backend = "reference"
max_batch_size = 0
input = [{{ name = "picture", data_type = "{data_type}", dims = {dims} }}]
output = [{{ name = "same", data_type = "{data_type}", dims = {dims} }}]
"""
BATCHED_MODEL = """
backend = "reference"
max_batch_size = 8
input = [{{ name = "x", data_type = "{config_name}", dims = [-1] }}]
output = [{{ name = "y", data_type = "{config_name}", dims = [-1] }}]
"""
TWO_INPUTS = """
backend = "reference"
max_batch_size = 0
parameters = { function = "add_sub" }
input = [{ name = "a", data_type = "TYPE_INT32", dims = [2] }, { name = "b", data_type = "TYPE_INT32", dims = [2] }]
output = [{ name = "sum", data_type = "TYPE_INT32", dims = [2] },
          { name = "difference", data_type = "TYPE_INT32", dims = [2] }]
"""


NOBODY = 65534


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user may look into; pytest's own are for one user only."""
    with short_directory() as place:
        place.chmod(0o755)
        yield place


@contextmanager
def ordinary_user() -> Iterator[None]:
    """For root: what happens in the block is done as a user without any rights."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with short_directory() as state:
        yield Terminal(state)


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A daemon on the shipped models and on models of the reference backend. Do not change what it serves."""
    models = tmp_path_factory.mktemp("models")
    for package in MODELS.iterdir():
        shutil.copytree(package, models / package.name)
    for datatype in Datatype:
        text = BATCHED_MODEL.format(config_name=datatype.config_name)
        write_package(models / f"same-{datatype.wire_name.lower()}", text)
    write_package(models / "rgb-last", IMAGE_MODEL.format(data_type="TYPE_UINT8", dims=[4, 6, 3]))
    write_package(models / "rgb-first", IMAGE_MODEL.format(data_type="TYPE_FP32", dims=[3, -1, -1]))
    write_package(models / "two-inputs", TWO_INPUTS)
    write_package(models / "broken", 'backend = "nonesuch"')
    with short_directory() as state:
        terminal = Terminal(state, models)
        with terminal.daemon("--models", models):
            yield terminal


def write_package(directory: Path, text: str) -> Path:
    """Write a package whose model file the reference backend does not read."""
    (directory / "1").mkdir(parents=True)
    (directory / "1" / "model.onnx").write_text("reference")
    (directory / "model.toml").write_text(text)
    return directory


@contextmanager
def short_directory() -> Iterator[Path]:
    """Make a temporary directory: the path of a Unix socket has at most 107 bytes, pytest's own are longer."""
    path = Path(tempfile.mkdtemp(prefix="a-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)
