"""An empty registry, one package to put into it, and a process whose children kill themselves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.registry.model_registry import ModelRegistry
from appliance.state_layout import StateLayout
from tests.registry.kill_session import Driver, started_driver
from tests.registry.packages import write_package


@pytest.fixture
def layout(tmp_path: Path) -> StateLayout:
    return StateLayout(tmp_path / "state")


@pytest.fixture
def registry(layout: StateLayout) -> Iterator[ModelRegistry]:
    times = iter(range(1000, 100_000))
    with ModelRegistry.open(layout, clock=lambda: float(next(times))) as opened:
        yield opened


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return write_package(tmp_path / "digits")


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with started_driver() as started:
        yield started
