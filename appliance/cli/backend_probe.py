"""What ONNX Runtime really does on this box, tried in a process of its own: a broken driver can crash an import.

`probe` starts the process and reads its verdict; `main` is that process.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError, Failed

TIMEOUT_S = 120.0
_TRIED_PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider")
_VALUES = [[1.5, -2.0], [3.0, -4.0]]  # what goes in, and what must come out
# An ONNX model of one node, y = x + x, for two numbers: the least that proves that a provider computes.
_DOUBLING = bytes.fromhex(
    "080812003a350a0e0a01780a017812017922034164641201675a0f0a0178120a0a08080112040a020802620f0a0179120a0a0808011204"
    "0a02080242040a00100d"
)
_START = "import sys; sys.path.append(sys.argv.pop(1)); from appliance.cli.backend_probe import main; main()"
_PACKAGE_PARENT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """`available`: what this build has. `providers`: those that were tried -> '' if it computes, or why not."""

    version: str
    available: tuple[str, ...]
    providers: dict[str, str]
    telemetry_off: bool  # ORT_DISABLE_TELEMETRY=1 stood before the import


def probe() -> ProbeReport:
    """Import ONNX Runtime and compute with it, elsewhere. Raises Failed with the reason if that is impossible."""
    command = [sys.executable, "-I", "-c", _START, os.fspath(_PACKAGE_PARENT)]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"trying ONNX Runtime takes longer than {TIMEOUT_S:.0f} s", hint="restart this box") from error
    try:
        answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError) as error:
        last_words = child.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        how = f"signal {-child.returncode}" if child.returncode < 0 else f"exit status {child.returncode}"
        raise Failed(f"trying ONNX Runtime ended with {how}: {last_words[0][:300]}") from error
    if "problem" in answer:
        raise Failed(answer["problem"], hint=answer["hint"])
    return ProbeReport(answer["version"], tuple(answer["available"]), answer["providers"], answer["telemetry_off"])


def main() -> None:
    """Try, and print one line of JSON."""
    try:
        answer = _tried()
    except ApplianceError as error:
        answer = {"problem": error.message, "hint": error.hint}
    sys.stdout.write(json.dumps(answer) + "\n")


def _tried() -> dict[str, Any]:
    from appliance.backends.table import open_backend  # noqa: PLC0415  (here, in the child, it may crash)

    open_backend("onnxruntime")
    runtime = sys.modules["onnxruntime"]
    available = runtime.get_available_providers()
    return {
        "version": runtime.__version__,
        "available": available,
        "providers": {name: _problem_of(name) for name in _TRIED_PROVIDERS if name in available},
        "telemetry_off": os.environ.get("ORT_DISABLE_TELEMETRY") == "1",
    }


def _problem_of(provider: str) -> str:
    """Compute with one provider; say why that failed, '' if it worked."""
    import numpy as np  # noqa: PLC0415

    from appliance.backends.onnxruntime import SessionInstance, open_session, session_signature  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "doubling.onnx")
        model.write_bytes(_DOUBLING)
        try:
            session = open_session(model, providers=[provider])
            if session.get_providers()[0] != provider:
                return f"ONNX Runtime fell back to {session.get_providers()[0]}"
            given, expected = (np.array(row, dtype=np.float32) for row in (_VALUES[0], _VALUES[1]))
            (found,) = SessionInstance(session, session_signature(session)).execute({"x": given}, ["y"])
        except ApplianceError as error:
            return error.message
    return "" if np.array_equal(found, expected) else f"computed {found.tolist()}, expected {expected.tolist()}"
