"""One models directory for all wire tests, one daemon for each of their modules."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.rpc.hostility import warm_up, write_hostile_models
from tests.rpc.native_tests import TRANSPORTS
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


@pytest.fixture(scope="module", params=[TRANSPORTS[0], pytest.param("grpcio", marks=pytest.mark.exhaustive)])
def transport(request: pytest.FixtureRequest) -> str:
    """The transport under attack: each in turn where tests are exhaustive, else the one that is C++ of our own."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def hostile_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never written to."""
    return write_hostile_models(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def attacked(transport: str, hostile_models: Path) -> Iterator[DaemonProcess]:
    """One daemon for all hostile cases of a module; it must end well after them."""
    with DaemonProcess(hostile_models, settings={"SERVER_TRANSPORT": transport}) as process:
        warm_up(process)
        yield process
        process.terminate()
        status = process.wait()

    assert status == 0  # what it complains of is looked at after each case
