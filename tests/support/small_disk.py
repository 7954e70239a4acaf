"""A real disk that is soon full; the fixture is in tests/conftest.py."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SMALL_DISK_BYTES = 1024 * 1024


@contextmanager
def mounted_small_disk(place: Path, size_bytes: int = SMALL_DISK_BYTES) -> Iterator[Path]:
    """Mount a tmpfs of that size at `place`; the test is skipped where that is not permitted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted")
    yield place
    subprocess.run(["umount", place], check=True)
