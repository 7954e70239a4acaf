"""Tests that need the native transport: left out where it is not built, unless they are required."""

import importlib.util
import os

import pytest

HAS_EXTENSION = importlib.util.find_spec("appliance_native") is not None
needs_extension = pytest.mark.skipif(
    not HAS_EXTENSION and not os.environ.get("APPLIANCE_REQUIRE_NATIVE_TESTS"),
    reason="the native transport is not built: scripts/build-native",
)
TRANSPORTS = (pytest.param("native", marks=needs_extension), "grpcio")
