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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with mounted_small_disk(tmp_path / "disk") as place:
        yield place
