"""Tests that need the native transport: left out where it is not built, unless they are required."""

import importlib.util
import os
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

HAS_EXTENSION = importlib.util.find_spec("appliance_native") is not None
needs_extension = pytest.mark.skipif(
    not HAS_EXTENSION and not os.environ.get("APPLIANCE_REQUIRE_NATIVE_TESTS"),
    reason="the native transport is not built: scripts/build-native",
)
TRANSPORTS = (pytest.param("native", marks=needs_extension), "grpcio")


def environment_without_extension(directory: Path) -> Path:
    """Make an environment that has all of this one's packages but the extension; return its interpreter."""
    venv.create(directory, symlinks=True)
    (site,) = directory.glob("lib/python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("appliance_native") and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
    return directory / "bin" / Path(sys.executable).name
