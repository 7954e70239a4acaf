"""`update inspect` is for everybody: it needs to read, and nothing more."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.update_asking import inspected
from tests.updates.boxes import Publisher, SealedBox

NOBODY = 65534


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that anybody may look into."""
    path = Path(tempfile.mkdtemp(prefix="a-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_nobody(box: SealedBox, stick: Path) -> str:
    """Inspect in a child without rights; returns the result, or what went wrong."""
    inspected(box.settings, stick, "")  # what is imported late is imported now: nobody may not read it
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = inspected(box.settings, stick, "").result
        except BaseException as error:  # noqa: BLE001  # a child of fork: nobody above it may go on
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = stream.read()
    os.waitpid(child, 0)
    return told


@pytest.mark.root
def test_somebody_who_may_only_read_can_inspect(publisher: Publisher, open_directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    box = SealedBox(open_directory / "state")
    box.seal(publisher.root)
    assert box.apply(publisher.stick(1)).code == 0
    stick = Path(shutil.copytree(publisher.stick(2), open_directory / "stick"))

    assert as_nobody(box, stick) == "ACCEPTABLE"
    with box.box():  # as while a daemon runs
        assert as_nobody(box, stick) == "ACCEPTABLE"
    box.close()
