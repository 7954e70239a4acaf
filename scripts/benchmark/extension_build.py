"""How long building the native transport's extension took: as scripts/build-native noted it, or measured anew."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from appliance.errors import Failed
from benchmark.extension import Extension

SOURCES = Path(__file__).resolve().parents[2] / "appliance" / "rpc" / "native"
NOTE = Path(sys.prefix) / ".native-build"  # by scripts/build-native: core, seconds, and how much was compiled


def noted_build(extension: Extension, note: Path = NOTE) -> str:
    """Return what scripts/build-native noted of exactly this extension, '' if nothing."""
    if not note.exists() or not extension.path.resolve().is_relative_to(note.parent.resolve()):
        return ""
    core, seconds, compiled = note.read_text().split()
    if (core == "own") != extension.has_own_core:
        return ""
    parts = "gRPC's core and the extension" if core == "own" and compiled == "all" else "the extension alone"
    return f"{seconds} s by scripts/build-native for {parts}, pip's isolated environment included"


def timed_build() -> str:
    """Build over the system's gRPC into a temporary directory and say how long that took, or why it cannot be."""
    found = shutil.which("pkg-config") and subprocess.run(["pkg-config", "--exists", "grpc >= 29"], check=False)
    if not shutil.which("g++") or not found or found.returncode != 0:
        return "not known: scripts/build-native noted none, and g++ or the system's gRPC is not here to measure it"
    with TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        started_s = time.monotonic()
        result = subprocess.run(
            [*command, "--wheel-dir", folder, str(SOURCES)],
            capture_output=True,
            text=True,
            check=False,
        )
        took_s = time.monotonic() - started_s
    if result.returncode != 0:
        raise Failed(f"the extension cannot be built: {result.stderr.strip()[-300:]}", hint="scripts/build-native")
    return f"{took_s:.0f} s over the system's gRPC, measured with pip wheel for this report: not the one installed"
