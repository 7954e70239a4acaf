"""Golden samples: does the served model answer as the source model did?"""

from collections.abc import Iterator
from pathlib import Path

from appliance.errors import ApplianceError
from gpu_check.command import ask_appliance
from gpu_check.finding import Finding, failed, not_run, passed
from gpu_check.packages import Workload

GOLDEN = "golden samples"


def check_golden(workload: Workload, state: Path) -> Iterator[Finding]:
    """Let the daemon of `state` answer the samples of every package."""
    try:
        rows = ask_appliance("selftest", "--models", workload.folder, "--state", state, accept=(0, 1))
    except ApplianceError as error:
        yield failed(GOLDEN, "all models", error.message)
        return
    for name in workload.names:
        own = [row for row in rows if row["model"] == name]
        wrong = [f"{row['sample'] or 'all'}: {row['problem']}" for row in own if row["problem"]]
        if wrong:
            yield failed(GOLDEN, name, "; ".join(wrong)[:400], found=f"{len(own) - len(wrong)} of {len(own)} right")
        elif own:
            yield passed(GOLDEN, name, f"{len(own)} of {len(own)} right", "all")
        else:
            yield not_run(GOLDEN, name, "its package has no golden samples")
