"""These tests run in the converter's own environment (scripts/setup convert-test, scripts/test --all)."""

import importlib.util

from tests.egress.conftest import sinkhole, why_no_sinkhole

__all__ = ["sinkhole", "why_no_sinkhole"]

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
