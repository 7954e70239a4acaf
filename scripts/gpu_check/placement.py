"""What really computes each served model: health without the device that was asked for is the worst of bugs."""

from collections.abc import Iterator

from benchmark.server_process import ServerProcess

from gpu_check.daemon import DAEMON_ERRORS, computed_by, words_of
from gpu_check.finding import Finding, failed, passed
from gpu_check.packages import Workload

PLACEMENT = "computed by"


def check_placement(workload: Workload, daemon: ServerProcess, wanted: str) -> Iterator[Finding]:
    """Compare what computes each model with `wanted`, "tensorrt" or "cpu"."""
    for name in workload.names:
        try:
            path, device = computed_by(daemon, name)
        except DAEMON_ERRORS as error:
            yield failed(PLACEMENT, name, words_of(error), goal=wanted)
            continue
        found = f"{path}: {device}"
        if path == wanted:
            yield passed(PLACEMENT, name, found, wanted)
        else:
            yield failed(PLACEMENT, name, f"asked for {wanted}", found=found, goal=wanted)
