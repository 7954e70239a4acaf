"""Opens a model of unknown origin in a process of its own, so that the daemon learns what it would have suffered.

Some files take gigabytes, minutes or the whole process while ONNX Runtime loads them, and no reading of the file can
tell. The child limits itself (trial_child); this module starts it, bounds its time and its words, and judges how it
ended.
"""

import contextlib
import json
import logging
import math
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from appliance.backends.isolated_python import isolated_command
from appliance.backends.onnx_inspection import OnnxFacts
from appliance.backends.onnx_reasons import is_lack_of_memory
from appliance.backends.trial_child import READING
from appliance.errors import ApplianceError, ErrorKind, Failed, InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.datatype import Datatype
from appliance.model.signature import ModelSignature, SignatureTensor

_log = logging.getLogger(__name__)

_LARGEST_ANSWER_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_LEAVING_S = 1.0  # a child whose streams have ended is on its way out
_ENVIRONMENT = MappingProxyType(
    {
        "ORT_DISABLE_TELEMETRY": "1",
        "OPENBLAS_NUM_THREADS": "1",  # each further thread reserves address space, which is limited
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
    }
)


@dataclass(frozen=True, slots=True)
class TrialReport:
    """What a model that loads is like. `note`: why it could not be run once with zeros, '' if it could."""

    signature: ModelSignature
    facts: OnnxFacts
    note: str


@dataclass(frozen=True, slots=True)
class Ending:
    """How the child ended. `answer` is its outcome line, {} if it did not get that far."""

    exit_code: int  # negative: the signal that ended it
    timed_out: bool
    step: str
    answer: Mapping[str, Any]
    last_words: str


def trial_load(model_file: Path, config: ModelConfig, *, memory_bytes: int, timeout_s: float) -> ModelSignature:
    """Try a model as `try_model` does and return its signature only."""
    return try_model(model_file, config, memory_bytes=memory_bytes, timeout_s=timeout_s).signature


def try_model(model_file: Path, config: ModelConfig, *, memory_bytes: int, timeout_s: float) -> TrialReport:
    """Inspect, load and run a model once, in a limited process. Blocks for up to `timeout_s`.

    Raises InvalidInput if the model is refused, crashes, needs more memory or more time; Failed if the trial itself
    could not be carried out.
    """
    model_file = model_file.absolute()
    task = {
        "model_file": os.fspath(model_file),
        "memory_bytes": memory_bytes,
        "cpu_s": math.ceil(timeout_s) + 1,  # in case nobody is left to watch the clock
        "graph_level": config.optimization.graph.level,
        "dims": {tensor.name: tensor.dims for tensor in config.input if tensor.dims is not None},
    }
    started_s = time.monotonic()
    report = judge(
        _run_child(task, model_file.parent, started_s + timeout_s), model_file.name, memory_bytes, timeout_s
    )
    _log.info(
        "trial of %s took %.2f s%s", model_file, time.monotonic() - started_s, report.note and f": {report.note}"
    )
    return report


def judge(ending: Ending, file: str, memory_bytes: int, timeout_s: float) -> TrialReport:
    """Read the verdict from the child's end. Raises InvalidInput or Failed unless the model loaded."""
    outcome = ending.answer.get("outcome")
    if ending.timed_out or ending.exit_code == -signal.SIGXCPU:
        raise InvalidInput(
            f"{file}: {ending.step} takes longer than {timeout_s:g} s", hint="setting models.import_timeout_s"
        )
    # ONNX Runtime gives constant folding up when memory is short, warns, and loads: without the limit it would fold.
    if outcome == "loaded" and not is_lack_of_memory(ending.last_words):
        return _report(ending.answer)
    if outcome == "refused":
        raise _refusal(ending.answer)
    if outcome in ("memory", "loaded") or is_lack_of_memory(ending.last_words):
        raise InvalidInput(
            f"{file}: {ending.step} needs more than {_size(memory_bytes)}",
            hint="setting models.import_memory_bytes",
        )
    if ending.exit_code == -signal.SIGKILL:
        raise InvalidInput(
            f"{file}: {ending.step} ended when the kernel killed the trial process, most likely for lack of memory",
            hint="free memory on this box, or take a smaller model",
        )
    if ending.exit_code < 0:
        raise InvalidInput(
            f"{file}: {ending.step} crashed the trial process (signal {-ending.exit_code})",
            hint="export the model again, with other versions of the exporter and of onnx",
        )
    lines = ending.last_words.split("\n")
    last_line = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    raise Failed(
        f"{file}: the trial process ended with exit code {ending.exit_code} while {ending.step}: {last_line[:300]}",
        hint="what this box can run: appliance doctor",
    )


def _run_child(task: Mapping[str, Any], directory: Path, deadline_s: float) -> Ending:
    command = isolated_command("appliance.backends.trial_child", json.dumps(task))
    try:
        child = subprocess.Popen(
            command,
            cwd=directory,
            env=dict(_ENVIRONMENT),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise Failed(f"the trial process could not be started: {error}") from error
    with child:
        spoken, last_words, finished = _listen(child, deadline_s)
        if finished:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(deadline_s - time.monotonic(), _LEAVING_S))
        timed_out = child.poll() is None
        if timed_out:  # not yet waited for, so the group still bears this number
            os.killpg(child.pid, signal.SIGKILL)
    step, answer = _read_answers(spoken)
    return Ending(child.returncode, timed_out, step, answer, last_words.decode("utf-8", "backslashreplace"))


def _listen(child: subprocess.Popen[bytes], deadline_s: float) -> tuple[bytes, bytes, bool]:
    """Read both streams to their end or until the deadline; return them, and whether they ended."""
    assert child.stdout is not None
    assert child.stderr is not None
    heard = {child.stdout: bytearray(), child.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in heard:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and (left_s := deadline_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if not chunk:
                    selector.unregister(key.fileobj)
                words = heard[key.fileobj]  # type: ignore[index]  # registered above, from these very keys
                words += chunk[: _LARGEST_ANSWER_BYTES - len(words)]
        finished = not selector.get_map()
    return bytes(heard[child.stdout]), bytes(heard[child.stderr]), finished


def _read_answers(spoken: bytes) -> tuple[str, Mapping[str, Any]]:
    """Return the last step that was begun, and the outcome ({} if the child did not get that far)."""
    step = READING
    answer: Mapping[str, Any] = {}
    for line in spoken.split(b"\n")[:-1]:
        fields = json.loads(line)
        step = fields.get("step", step)
        answer = fields if "outcome" in fields else answer
    return step, answer


def _refusal(answer: Mapping[str, Any]) -> ApplianceError:
    kind = InvalidInput if answer["kind"] == ErrorKind.INVALID.value else Failed
    return kind(answer["message"], hint=answer["hint"])


def _report(answer: Mapping[str, Any]) -> TrialReport:
    facts = answer["facts"]
    return TrialReport(
        ModelSignature(_tensors(answer["inputs"]), _tensors(answer["outputs"])),
        OnnxFacts(
            ir_version=facts["ir_version"],
            opsets=MappingProxyType(facts["opsets"]),
            producer=facts["producer"],
            operators=tuple(facts["operators"]),
            node_count=facts["node_count"],
            external_files=tuple(facts["external_files"]),
            metadata=MappingProxyType(facts["metadata"]),
        ),
        answer["note"],
    )


def _tensors(described: list[list[Any]]) -> tuple[SignatureTensor, ...]:
    return tuple(
        SignatureTensor(name, Datatype.parse(datatype), tuple(shape), optional)
        for name, datatype, shape, optional in described
    )


def _size(size_bytes: int) -> str:
    gibibytes = size_bytes / 2**30
    return f"{gibibytes:.1f} GiB" if gibibytes >= 1 else f"{size_bytes / 2**20:.0f} MiB"
