"""The sink-hole as a fixture: skipped with its reason where it cannot be built, unless it is required.

With APPLIANCE_REQUIRE_ROOT_TESTS=1 a missing sink-hole fails: a proof of silence must not be skipped in silence.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.egress.sinkhole_namespace import NotPossibleHere, Outcome, run_in_sinkhole

RunInSinkhole = Callable[..., Outcome]


@pytest.fixture(scope="session")
def why_no_sinkhole(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    try:
        run_in_sinkhole(["true"], tmp_path_factory.mktemp("sinkhole") / "trial")
    except NotPossibleHere as reason:
        return str(reason)
    return None


@pytest.fixture
def sinkhole(why_no_sinkhole: str | None, tmp_path: Path) -> RunInSinkhole:
    """`run_in_sinkhole`, with a log directory of its own for each run."""
    if why_no_sinkhole:
        if os.environ.get("APPLIANCE_REQUIRE_ROOT_TESTS") == "1":
            pytest.fail(f"APPLIANCE_REQUIRE_ROOT_TESTS is set, but there is no sink-hole here: {why_no_sinkhole}")
        pytest.skip(f"no sink-hole here: {why_no_sinkhole}")
    runs = iter(range(100))

    def run(command: list[str | Path], **options: Any) -> Outcome:
        return run_in_sinkhole(command, tmp_path / f"sinkhole-{next(runs)}", **options)

    return run
