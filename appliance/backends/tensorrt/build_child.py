"""The process in which TensorRT builds an engine, started by engine_builder: it may take long, crash, or eat memory.

It limits itself, writes one JSON object per line to standard output (steps, progress, then the outcome) and leaves
without ceremony, because TensorRT's destructors may crash where there is no driver. Standard input is its lifeline:
when that is closed, by a parent that cancels or that has died, the build ends and what it wrote is removed.
"""

import contextlib
import hashlib
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from appliance.backends.tensorrt.build_network import Refused, build
from appliance.backends.tensorrt.flavour import Flavour, load_tensorrt
from appliance.errors import ApplianceError, ErrorKind

_NICENESS = 10  # models that serve come first
_GRACE_S = 5.0  # for a cancelled build to notice it
_SHORTEST_SILENCE_S = 0.05  # between two lines of progress


class Reporter:
    """Writes lines; progress that follows the last line too closely is left out."""

    def __init__(self, answers: TextIO) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self._last_s = 0.0

    def say(self, **fields: Any) -> None:
        """Write one line."""
        with self._lock:
            self._answers.write(json.dumps(fields) + "\n")
            self._answers.flush()

    def advance(self, phase: str, fraction: float) -> None:
        """Tell how far it is."""
        now_s = time.monotonic()
        if now_s - self._last_s >= _SHORTEST_SILENCE_S:
            self._last_s = now_s
            self.say(phase=phase, fraction=round(fraction, 4))


def main() -> None:
    """Build the engine that the first argument describes."""
    task = json.loads(sys.argv[1])
    _lower_priority()
    reporter = Reporter(_take_over_stdout())
    part, cancelled = Path(task["part"]), threading.Event()
    threading.Thread(target=_watch_lifeline, args=(cancelled, part), daemon=True).start()
    try:
        reporter.say(step="importing TensorRT")
        trt = load_tensorrt(Flavour(**task["flavour"]))
        _limit_memory(task["memory_bytes"])
        reporter.say(**_built(trt, task, part, reporter, cancelled))
    except MemoryError:
        reporter.say(outcome="memory")
    except Refused as refused:
        reporter.say(outcome="refused", reason=str(refused))
    except UnicodeDecodeError:  # raised by TensorRT's bindings, for names as they stand in the file
        reporter.say(outcome="refused", reason="a name in it is not UTF-8")
    except ApplianceError as error:
        outcome = "invalid" if error.kind is ErrorKind.INVALID else "failed"
        reporter.say(outcome=outcome, reason=error.message, hint=error.hint)
    except OSError as error:
        reporter.say(outcome="unwritable", reason=error.strerror or str(error), errno=error.errno)
    sys.stderr.flush()
    os._exit(0)


def _built(
    trt: Any, task: Mapping[str, Any], part: Path, reporter: Reporter, cancelled: threading.Event
) -> dict[str, Any]:
    engine, layers = build(trt, task, reporter, cancelled)
    reporter.say(step="writing it to disk")
    data = memoryview(engine)
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {"outcome": "built", "size": data.nbytes, "digest": digest, "layers": layers, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """Largest resident memory so far. Not ru_maxrss: that begins with the peak of whoever started this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _watch_lifeline(cancelled: threading.Event, part: Path) -> None:
    while os.read(0, 1):
        continue
    cancelled.set()
    time.sleep(_GRACE_S)
    part.unlink(missing_ok=True)
    os._exit(1)


def _lower_priority() -> None:
    with contextlib.suppress(OSError):  # a courtesy to the daemon: if memory runs short, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_memory(budget_bytes: int) -> None:
    """Limit what is allocated from now on. The address space cannot be limited: CUDA reserves more than there is."""
    used_bytes = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit_bytes = used_bytes + budget_bytes
    if hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def _take_over_stdout() -> TextIO:
    """Keep standard output for the answers; whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers
