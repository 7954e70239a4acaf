"""How long the daemon takes from its start until all models are READY, with every engine in the cache."""

import time
from collections.abc import Iterator
from pathlib import Path

from gpu_check.daemon import DAEMON_ERRORS, start_daemon, words_of
from gpu_check.finding import Finding, failed, judged
from gpu_check.packages import Workload

WARM_START = "warm start"
LARGEST_S = 3.0  # beside the time that reading the engines takes
_CHUNK_BYTES = 1 << 20


def check_warm_start(workload: Workload, state: Path, engines: Path) -> Iterator[Finding]:
    """Start the daemon once more."""
    reading_s = _read_all(engines)
    limit_s = LARGEST_S + reading_s
    try:
        with start_daemon(workload, state) as daemon:
            found_s = daemon.ready_after_s
    except DAEMON_ERRORS as error:
        yield failed(WARM_START, "all models", words_of(error))
        return
    found = f"{found_s:.2f} s to READY (reading the engines: {reading_s:.2f} s)"
    yield judged(WARM_START, "all models", found, f"< {LARGEST_S:.0f} s + reading", met=found_s < limit_s)


def _read_all(folder: Path) -> float:
    """Seconds that reading everything takes, as the daemon will find it: in the page cache or not."""
    started_s = time.monotonic()
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb", buffering=0) as stream:
                while stream.read(_CHUNK_BYTES):
                    pass
    return time.monotonic() - started_s
