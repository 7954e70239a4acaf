"""The process in which a model of unknown origin is opened for the first time (started by trial.trial_load).

It limits itself before it imports or reads anything large, writes one JSON object per line to standard output (each
step that it begins, then the outcome), and leaves without ceremony. Heavy modules are imported after the limits.
"""

import contextlib
import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from appliance.errors import ApplianceError, InvalidInput

if TYPE_CHECKING:
    from appliance.backends.onnx_inspection import OnnxFacts
    from appliance.model.signature import ModelSignature, SignatureTensor

RUNTIME_BYTES = (
    512 * 1024 * 1024
)  # address space of the interpreter and ONNX Runtime before any model (measured: 230 MB)
READING, LOADING, RUNNING = "reading it", "loading it", "running it once with zeros"
_COPIES = 2
_NICENESS = 10  # models that serve come first


def main() -> None:
    """Try the model that the first argument describes."""
    task = json.loads(sys.argv[1])
    _limit_this_process(task["memory_bytes"], task["cpu_s"])
    answers = _take_over_stdout()
    try:
        _try_model(Path(task["model_file"]), task, answers)
    except MemoryError:
        _say(answers, outcome="memory")
    except ApplianceError as error:
        _say(answers, **_refusal(error, Path(task["model_file"])))
    sys.stderr.flush()
    os._exit(0)  # destructors could only turn a finished trial into a crash


def _limit_this_process(memory_bytes: int, cpu_s: int) -> None:
    with contextlib.suppress(OSError):  # a courtesy to the daemon: if memory runs short, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    os.nice(_NICENESS)
    limits = {
        resource.RLIMIT_AS: memory_bytes + RUNTIME_BYTES,
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,  # pipes are not files: nothing at all can be written to disk
    }
    for kind, value in limits.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)  # noqa: PLW2901
        resource.setrlimit(kind, (value, value))


def _take_over_stdout() -> TextIO:
    """Keep standard output for the answers; whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, **fields: Any) -> None:
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


def _try_model(model_file: Path, task: Mapping[str, Any], answers: TextIO) -> None:
    _say(answers, step=READING)
    # The file and its parsed form are in memory together. The parser would report the lack of it as damage.
    if model_file.is_file() and _COPIES * model_file.stat().st_size > task["memory_bytes"]:
        raise MemoryError
    from appliance.backends.onnx_inspection import inspect_onnx  # noqa: PLC0415  # heavy: after the limits

    facts = inspect_onnx(model_file)
    _say(answers, step=LOADING)
    from appliance.backends import onnxruntime as runtime  # noqa: PLC0415  # heavy: after the limits

    # Warnings too: when memory is short ONNX Runtime gives up folding with a warning and loads all the same.
    session = runtime.open_session(model_file, graph_level=task["graph_level"], log_severity=runtime.WARNINGS)
    try:
        signature = runtime.session_signature(session)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{model_file.name}: the name of an input or output is not UTF-8") from error
    _say(answers, step=RUNNING)
    note = _run_once(runtime.SessionInstance(session, signature), signature, task["dims"], model_file)
    _say(
        answers,
        outcome="loaded",
        note=note,
        facts=_described_facts(facts),
        inputs=_described(signature.inputs),
        outputs=_described(signature.outputs),
    )


def _run_once(instance: Any, signature: "ModelSignature", dims: Mapping[str, Sequence[int]], model_file: Path) -> str:
    """Run one row of zeros; return why that was impossible, '' if it worked. Raises MemoryError."""
    import numpy as np  # noqa: PLC0415  # heavy: after the limits

    from appliance.backends.onnx_reasons import is_lack_of_memory, short_reason  # noqa: PLC0415

    feeds = {}
    for tensor in signature.inputs:
        if not tensor.optional:
            shape = _smallest_shape(tensor.shape, dims.get(tensor.name, ()))
            fill = b"" if tensor.datatype.numpy.hasobject else 0
            feeds[tensor.name] = np.full(shape, fill, dtype=tensor.datatype.numpy)
    try:
        instance.execute(feeds, [tensor.name for tensor in signature.outputs])
    except ApplianceError as error:
        if is_lack_of_memory(error):
            raise MemoryError from error
        return short_reason(error.__cause__ or error, os.fspath(model_file.parent))
    return ""


def _smallest_shape(shape: Sequence[int], dims: Sequence[int]) -> tuple[int, ...]:
    """Fill variable sizes from the configuration (aligned at the end: it has no batch dimension), else with 1."""
    configured = [-1] * (len(shape) - len(dims)) + list(dims)
    if len(configured) != len(shape):
        configured = [-1] * len(shape)
    return tuple(size if size >= 0 else max(wanted, 1) for size, wanted in zip(shape, configured, strict=True))


def _described(tensors: "Sequence[SignatureTensor]") -> list[list[Any]]:
    return [[tensor.name, tensor.datatype.wire_name, tensor.shape, tensor.optional] for tensor in tensors]


def _described_facts(facts: "OnnxFacts") -> dict[str, Any]:
    return {
        "ir_version": facts.ir_version,
        "opsets": dict(facts.opsets),
        "producer": facts.producer,
        "operators": facts.operators,
        "node_count": facts.node_count,
        "external_files": facts.external_files,
        "metadata": dict(facts.metadata),
    }


def _refusal(error: ApplianceError, model_file: Path) -> dict[str, Any]:
    from appliance.backends.onnx_reasons import is_lack_of_memory, short_reason  # noqa: PLC0415  # only on failure

    if error.__cause__ is not None and is_lack_of_memory(error):
        return {"outcome": "memory"}
    foreign = error.__cause__ is not None and type(error.__cause__).__module__.startswith("onnxruntime")
    message = (
        f"ONNX Runtime refuses {model_file.name}: {short_reason(error.__cause__, os.fspath(model_file.parent))}"
        if foreign and error.__cause__ is not None
        else error.message
    )
    return {"outcome": "refused", "kind": error.kind.value, "message": message, "hint": error.hint}
