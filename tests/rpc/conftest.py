"""One models directory for all wire tests, one daemon for each of their modules."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.rpc.packages import write_models
from tests.support.daemon import DaemonProcess


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never written to: a test that adds models makes a directory of its own."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def daemon(models: Path) -> Iterator[DaemonProcess]:
    """It must also end well, and without a complaint in its log."""
    with DaemonProcess(models) as process:
        yield process
        process.terminate()
        status, complaints = process.wait(), process.complaints

    assert (status, complaints) == (0, [])


@pytest.fixture(scope="module")
def channel(daemon: DaemonProcess) -> Iterator[grpc.Channel]:
    with daemon.channel() as channel:
        yield channel
