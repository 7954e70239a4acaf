"""The process in which one thing is tried (started by probe_process): it may crash, that is why it exists.

It writes one JSON object per line to standard output: `step` before each thing that it begins, facts as soon as they
are found, `complete` at the end. Facts: see the functions that write them.
"""

import contextlib
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from appliance.backends.probe_model import EXPECTED, GIVEN, INPUT, MODEL, OUTPUT
from appliance.backends.probe_process import COMPLETE
from appliance.backends.probe_report import Outcome
from appliance.errors import ApplianceError, Failed

Say = Callable[..., None]


def main() -> None:
    """Try what the arguments name: `machine`, `onnxruntime PROVIDER` or `tensorrt FLAVOUR COMPUTE-CAPABILITY`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # a courtesy: if memory runs short, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    answers = _take_over_stdout()

    def say(**facts: Any) -> None:
        _write(answers, json.dumps(facts).encode() + b"\n")

    match sys.argv[1:]:
        case ["machine"]:
            _try_machine(say)
        case ["onnxruntime", provider]:
            _try_onnxruntime(say, provider)
        case ["tensorrt", flavour, compute_capability]:
            _try_tensorrt(say, flavour, compute_capability)
    _write(answers, COMPLETE)
    sys.stderr.flush()
    os._exit(0)  # destructors of a driver could only turn an answer into a crash


def _try_machine(say: Say) -> None:
    """Say `flavours` (those installed) and either `cuda` and `gpus` or `driver_problem` and `driver_remedy`."""
    from appliance.backends.tensorrt.flavour import installed_flavours  # noqa: PLC0415

    say(step="looking for TensorRT")
    say(flavours=[[flavour.name, flavour.version] for flavour in installed_flavours()])
    say(step="opening the NVIDIA driver")
    from appliance.backends.cuda.driver import open_driver  # noqa: PLC0415
    from appliance.backends.cuda.gpu import list_gpus  # noqa: PLC0415

    try:
        driver = open_driver()
        say(cuda=driver.cuda_version, step="asking the NVIDIA driver for GPUs")
        say(gpus=[asdict(gpu) for gpu in list_gpus(driver)])
    except ApplianceError as error:
        say(driver_problem=error.message, driver_remedy=error.hint)


def _try_onnxruntime(say: Say, provider: str) -> None:
    """Say `version`, `providers` and `telemetry_off`, then `computes` ('' or why not) and `remedy`."""
    from appliance.backends.table import open_backend  # noqa: PLC0415  # heavy, and it may crash

    say(step="importing ONNX Runtime")
    try:
        open_backend("onnxruntime")
    except ApplianceError as error:
        say(import_problem=error.message, remedy=error.hint)
        return
    runtime = sys.modules["onnxruntime"]
    say(
        version=str(runtime.__version__),
        providers=list(runtime.get_available_providers()),
        telemetry_off=os.environ.get("ORT_DISABLE_TELEMETRY") == "1",
        step=f"computing with {provider}",
    )
    say(computes=_problem_of(provider))


def _problem_of(provider: str) -> str:
    """Compute with one provider; say why that failed, '' if it worked."""
    import numpy as np  # noqa: PLC0415

    from appliance.backends.onnxruntime import SessionInstance, open_session, session_signature  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "probe.onnx")
        model.write_bytes(MODEL)
        try:
            session = open_session(model, providers=[provider])
            if session.get_providers()[0] != provider:
                return f"ONNX Runtime fell back to {session.get_providers()[0]}"
            given = np.array(GIVEN, dtype=np.float32)
            (found,) = SessionInstance(session, session_signature(session)).execute({INPUT: given}, [OUTPUT])
        except ApplianceError as error:
            return error.message
    return _difference(found.tolist())


def _try_tensorrt(say: Say, name: str, compute_capability: str) -> None:
    """Say `loads`, `targets`, `builds` and `runs`: {"outcome", "detail", "remedy"} as a Trial has them.

    compute_capability: to build for where there is no GPU.
    """
    from appliance.backends.tensorrt.smallest_engine import SmallestEngine  # noqa: PLC0415

    say(step=f"loading {name}")
    try:
        engine = SmallestEngine(name)
    except ApplianceError as error:
        say(loads=_failure(error))
        return
    say(loads=_success(f"library {engine.library_version}"), targets=list(engine.targets))
    say(step="opening the NVIDIA driver")
    problem = engine.open_gpu()
    say(step="building an engine")
    try:
        say(builds=_success(engine.build(compute_capability)), step="running an engine")
        if problem is not None:
            say(runs=_failure(problem, Outcome.UNTRIED))
            return
        difference = _difference(engine.run())
    except ApplianceError as error:
        say(**{"runs" if engine.built else "builds": _failure(error)})
        return
    say(runs=_failure(Failed(difference)) if difference else _success(f"computes on {engine.gpu_name}"))


def _success(detail: str) -> dict[str, str]:
    return {"outcome": Outcome.YES.value, "detail": detail, "remedy": ""}


def _failure(error: ApplianceError, outcome: Outcome = Outcome.NO) -> dict[str, str]:
    return {"outcome": outcome.value, "detail": error.message, "remedy": error.hint}


def _difference(found: list[float]) -> str:
    return "" if tuple(found) == EXPECTED else f"it computed {found}, expected {list(EXPECTED)}"


def _take_over_stdout() -> int:
    """Keep standard output for the answers; whatever a library prints goes to standard error."""
    answers = os.dup(1)
    os.dup2(2, 1)
    return answers


def _write(answers: int, line: bytes) -> None:
    os.write(answers, line)  # at most PIPE_BUF in practice, and nobody else writes
