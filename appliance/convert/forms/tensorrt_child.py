"""The process in which TensorRT-RTX parses a graph and builds an engine from it (started by tensorrt_parser).

The limit is what parsing and building may take beyond the libraries themselves. It writes one JSON object per line to
standard output (each step that it begins, then the outcome), and leaves without ceremony: TensorRT's destructors may
crash where there is no driver.
"""

import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

_LARGEST_REASON = 300
# Any generation that it can compile for will do, as what it supports differs little between them.
_GENERATION = "SM89"

Profiles = Mapping[str, Sequence[Sequence[int]]]


def main() -> None:
    """Try the graph that the first argument describes."""
    task = json.loads(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = _take_over_stdout()
    try:
        _say(answers, step="importing it")
        import tensorrt_rtx as trt  # noqa: PLC0415  (heavy: where its absence becomes an answer)

        _limit_memory(task["memory_bytes"])
        _say(answers, **_try_graph(trt, task["file"], task["profiles"], answers))
    except MemoryError:
        _say(answers, outcome="memory")
    except ImportError as error:
        _say(answers, outcome="not importable", reason=_shortened(str(error)))
    sys.stderr.flush()
    os._exit(0)


def _limit_memory(budget_bytes: int) -> None:
    """Limit what is mapped from now on: the libraries alone map some hundred MiB, more or less by machine."""
    mapped_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit_bytes = mapped_bytes + budget_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def _try_graph(trt: Any, file: str, profiles: Profiles, answers: TextIO) -> dict[str, str]:
    errors: list[str] = []
    builder = trt.Builder(_logger(trt, errors))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, _logger(trt, errors))
    _say(answers, step="parsing the graph")
    if not parser.parse_from_file(file):
        return {"outcome": "refused", "reason": _refusal(parser.get_error(0))}
    _say(answers, step="building an engine")
    errors.clear()  # what the parser could work around
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, _GENERATION), 0)
    config.add_optimization_profile(_profile(builder, network, profiles))
    if builder.build_serialized_network(network, config) is None:
        return {"outcome": "refused", "reason": _shortened(errors[0] if errors else "the builder gave no reason")}
    return {"outcome": "accepted", "version": trt.__version__}


def _logger(trt: Any, errors: list[str]) -> Any:
    """Keep what is an error and drop the rest: a build writes thousands of lines."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # TensorRT is not typed
        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                errors.append(message)

    return Logger()


def _profile(builder: Any, network: Any, profiles: Profiles) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        name = network.get_input(index).name
        if name in profiles:
            profile.set_shape(name, *(tuple(shape) for shape in profiles[name]))
    return profile


def _refusal(error: Any) -> str:
    name = error.node_name() or f"number {error.node()}"
    return f"node '{name}' ({error.node_operator()}): {_shortened(_substance(error))}"


def _substance(error: Any) -> str:
    said = str(error.desc())
    # Its checks of operators say no more than 'false'.
    return str(error.code()).rpartition(".")[2].lower().replace("_", " ") if said in ("", "false") else said


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LARGEST_REASON else line[: _LARGEST_REASON - 3] + "..."


def _take_over_stdout() -> TextIO:
    """Keep standard output for the answers; whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, **fields: Any) -> None:
    answers.write(json.dumps(fields) + "\n")
    answers.flush()
