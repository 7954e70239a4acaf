"""ONNX file in, engine out: the calls to TensorRT's builder, the same for all its flavours.

Networks are strongly typed: the precision is the one that the ONNX file has, and nothing is rounded behind its back.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from appliance.backends.tensorrt.profiles import complete_profiles
from appliance.backends.tensorrt.progress_tree import ProgressTree
from appliance.errors import InvalidInput
from appliance.model.engine import ShapeRange

_LARGEST_REASON = 300
_PER_CAPABILITY = "SM"  # ComputeCapability.SM89


class Refused(Exception):
    """TensorRT will not build it; the text says why."""


class Listener(Protocol):
    """Hears how far it is."""

    def say(self, **fields: Any) -> None:
        """A step begins."""

    def advance(self, phase: str, fraction: float) -> None:
        """Progress within building."""


def build(trt: Any, task: Mapping[str, Any], listener: Listener, cancelled: threading.Event) -> tuple[Any, int]:
    """Return the engine (a buffer) and the number of layers parsed. Raises Refused, MemoryError.

    task: model_file, profiles (list of input -> [min, opt, max]), max_batch_size, compute_capability, on_gpu,
    options, timing_cache. Raises InvalidInput for profiles that do not fit the network, and for an impossible target.
    """
    errors: list[str] = []
    builder = trt.Builder(_logger(trt, errors))
    network = builder.create_network(_strongly_typed(trt))
    parser = trt.OnnxParser(network, _logger(trt, errors))
    listener.say(step="parsing the graph")
    if not parser.parse_from_file(task["model_file"]):
        raise Refused(_parser_refusal(parser, errors))
    errors.clear()  # what the parser could work around
    config = _configured(trt, builder, network, task)
    if hasattr(config, "progress_monitor"):
        monitor = config.progress_monitor = _monitor(trt, listener, cancelled)  # noqa: F841  (TensorRT keeps no reference)
    cache = _timing_cache(config, task["timing_cache"])
    errors.clear()  # without a GPU a timing cache is made with complaints, and works
    listener.say(step="building the engine")
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Refused(_shortened(errors[0]) if errors else "the builder gave no reason")
    if cache is not None:
        _keep_timing_cache(config, Path(task["timing_cache"]))
    return engine, network.num_layers


def _strongly_typed(trt: Any) -> int:
    """Networks of TensorRT-RTX, and of TensorRT 11, are never anything else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _configured(trt: Any, builder: Any, network: Any, task: Mapping[str, Any]) -> Any:
    config, options = builder.create_builder_config(), task["options"]
    if options["workspace_bytes"]:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options["workspace_bytes"])
    if options["optimization_level"] is not None:
        config.builder_optimization_level = options["optimization_level"]
    if hasattr(trt.BuilderFlag, "TF32"):
        (config.set_flag if options["allow_tf32"] else config.clear_flag)(trt.BuilderFlag.TF32)
    _choose_target(trt, config, task["compute_capability"], on_gpu=task["on_gpu"])
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    written = [{name: ShapeRange(*map(tuple, bounds)) for name, bounds in each.items()} for each in task["profiles"]]
    shapes = {tensor.name: tuple(tensor.shape) for tensor in inputs}
    for ranges in complete_profiles(shapes, written, task["max_batch_size"]):
        profile = builder.create_optimization_profile()
        for name, bounds in ranges.items():
            profile.set_shape(name, bounds.min, bounds.opt, bounds.max)
        config.add_optimization_profile(profile)
    return config


def _choose_target(trt: Any, config: Any, capability: str, *, on_gpu: bool) -> None:
    """Name the compute capability where the builder can be told; full TensorRT builds for the GPU that it sees."""
    if not hasattr(config, "set_compute_capability"):
        if not on_gpu:
            raise InvalidInput(
                "TensorRT builds for the GPU in this machine only, and there is none",
                hint="TensorRT-RTX can build without one: pip install 'appliance[tensorrt-rtx]'",
            )
        return
    known = sorted(name for name in dir(trt.ComputeCapability) if name.startswith(_PER_CAPABILITY))
    wanted = _PER_CAPABILITY + capability.replace(".", "")
    if wanted in known:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, wanted), 0)
    elif not on_gpu:
        names = ", ".join(_dotted(name) for name in sorted(known, key=lambda name: int(name[2:])))
        raise InvalidInput(
            f"TensorRT-RTX cannot build for compute capability {capability}, only for {names}",
            hint="name one of these, or build on the box itself",
        )


def _dotted(name: str) -> str:
    digits = name.removeprefix(_PER_CAPABILITY)
    return f"{digits[:-1]}.{digits[-1]}"


def _timing_cache(config: Any, file: str | None) -> Any:
    """Give the builder what was measured before; a file that it cannot read counts as empty."""
    if file is None or not hasattr(config, "create_timing_cache"):
        return None
    try:
        known = Path(file).read_bytes()
    except OSError:
        known = b""
    cache = config.create_timing_cache(known) or config.create_timing_cache(b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        return None
    return cache


def _keep_timing_cache(config: Any, file: Path) -> None:
    """Replace the file as a whole. That it cannot be written costs the next build time, and nothing else."""
    part = file.with_name(file.name + ".part")
    try:
        part.write_bytes(config.get_timing_cache().serialize())
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)


def _logger(trt: Any, errors: list[str]) -> Any:
    """Keep what is an error and drop the rest: a build writes thousands of lines."""

    class Logger(trt.ILogger):  # type: ignore[misc]  # TensorRT is not typed
        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                errors.append(message)

    return Logger()


def _monitor(trt: Any, listener: Listener, cancelled: threading.Event) -> Any:
    tree = ProgressTree()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # TensorRT is not typed
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # its bindings demand it by name

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tree.start(phase_name, parent_phase, num_steps)
            listener.advance(phase_name, tree.fraction)

        def step_complete(self, phase_name: str, step: int) -> bool:
            tree.step(phase_name, step)
            listener.advance(phase_name, tree.fraction)
            return not cancelled.is_set()

        def phase_finish(self, phase_name: str) -> None:
            tree.finish(phase_name)

    return Monitor()


def _parser_refusal(parser: Any, errors: Sequence[str]) -> str:
    if not parser.num_errors:
        return _shortened(errors[0]) if errors else "the parser gave no reason"
    error = parser.get_error(0)
    said = str(error.desc())
    # Its checks of operators say no more than 'false'.
    reason = str(error.code()).rpartition(".")[2].lower().replace("_", " ") if said in ("", "false") else said
    name = error.node_name() or f"number {error.node()}"
    return f"node '{name}' ({error.node_operator()}): {_shortened(reason)}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LARGEST_REASON else line[: _LARGEST_REASON - 3] + "..."
