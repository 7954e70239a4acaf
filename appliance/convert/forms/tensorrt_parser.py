"""Asks TensorRT's own parser and builder whether they accept a graph. No GPU is needed.

TensorRT-RTX builds for a named GPU generation without a driver. It runs in a process of its own with limits (see
tensorrt_child): a broken installation, a crash or a graph that takes all memory ends that process only.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from appliance.backends.onnx_reasons import is_lack_of_memory
from appliance.convert.exported_model import ShapeProfile

INSTALL_COMMAND = "pip install 'appliance[tensorrt-rtx]'"
MEMORY_BYTES = 8 << 30
TIMEOUT_S = 600.0
_MODULE = "tensorrt_rtx"
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); from appliance.convert.forms.tensorrt_child import main; main()"
)
_PACKAGE_PARENT = Path(__file__).parents[3]  # for a source tree that is not installed
_ENVIRONMENT = MappingProxyType({"HOME": "/nonexistent", "LC_ALL": "C.UTF-8"})


class ParserVerdict(Enum):
    """What came of asking."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNDECIDED = "undecided"  # it crashed, took too long or too much memory
    NOT_INSTALLED = "not installed"


@dataclass(frozen=True, slots=True)
class ParserReport:
    """The verdict and its reason, in one line for people."""

    verdict: ParserVerdict
    detail: str

    def __str__(self) -> str:
        return f"{self.verdict.value}: {self.detail}"


def check_tensorrt(
    file: Path,
    profiles: Mapping[str, ShapeProfile],
    *,
    memory_bytes: int = MEMORY_BYTES,
    timeout_s: float = TIMEOUT_S,
) -> ParserReport:
    """Parse the graph and build an engine from it; profiles: input -> its shapes. Never raises for a graph."""
    if importlib.util.find_spec(_MODULE) is None:
        return ParserReport(ParserVerdict.NOT_INSTALLED, f"to have the graph checked: {INSTALL_COMMAND}")
    task = {
        "file": os.fspath(file.absolute()),
        "memory_bytes": memory_bytes,
        "profiles": {name: [profile.min, profile.opt, profile.max] for name, profile in profiles.items()},
    }
    command = [sys.executable, "-I", "-B", "-c", _START, os.fspath(_PACKAGE_PARENT), json.dumps(task)]
    try:
        child = subprocess.run(
            command,
            cwd=file.absolute().parent,
            env=dict(_ENVIRONMENT),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ParserReport(ParserVerdict.UNDECIDED, f"it takes longer than {timeout_s:g} s")
    return _judge(child, memory_bytes)


def _judge(child: "subprocess.CompletedProcess[bytes]", memory_bytes: int) -> ParserReport:
    """Read the last line that the child wrote, or how it ended before it could."""
    lines = child.stdout.decode("utf-8", "backslashreplace").strip().split("\n")
    answer: dict[str, Any] = json.loads(lines[-1]) if lines[-1] else {}
    match answer.get("outcome"):
        case "accepted":
            return ParserReport(ParserVerdict.ACCEPTED, f"TensorRT-RTX {answer['version']} parses and builds it")
        case "refused" if not is_lack_of_memory(answer["reason"]):
            return ParserReport(ParserVerdict.REFUSED, answer["reason"])
        case "refused" | "memory":
            return ParserReport(ParserVerdict.UNDECIDED, f"it needs more than {memory_bytes / 2**30:.1f} GiB")
        case "not importable":
            return ParserReport(ParserVerdict.NOT_INSTALLED, f"{answer['reason']}: {INSTALL_COMMAND}")
    ending = (
        f"signal {signal.Signals(-child.returncode).name}"
        if child.returncode < 0
        else f"exit code {child.returncode}: {_last_words(child.stderr)}"
    )
    return ParserReport(
        ParserVerdict.UNDECIDED, f"its process ended with {ending}, while {answer.get('step', 'starting')}"
    )


def _last_words(said: bytes) -> str:
    lines = [line for line in said.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else "it said nothing"
