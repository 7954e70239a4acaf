"""What holds for every test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.small_disk import mounted_small_disk

# Before anything imports onnxruntime: later versions of it contact a collector.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# A shell without job control starts what runs in the background with SIGINT ignored, and so would every child be that
# a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


_LONG = frozenset({"test_power_loss.py", "test_kill.py", "test_gpu_check.py", "test_whole_life.py"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that take minutes: at the end one process would work on them, and the others wait."""
    items.sort(key=lambda item: "system" not in item.path.parts and item.path.name not in _LONG)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with mounted_small_disk(tmp_path / "disk") as place:
        yield place
