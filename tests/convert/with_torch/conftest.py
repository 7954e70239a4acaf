"""These tests run in the converter's own environment (scripts/setup convert-test, scripts/test --all)."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_*.py"]
