"""ONNX Runtime, on the CPU or through CUDA: the only module that imports onnxruntime.

Providers are always named explicitly, ONNX Runtime's own way back to the CPU is closed, and the provider really used
is compared with the one asked for, operator by operator: it would go to the CPU without a word. All instances of a
model share one session, except on the CPU with several intra-op threads: `run` may be called from several threads,
and the weights are in memory once.
"""

import os
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from appliance.backends.base import Array, LoadRequest, ModelInstance
from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.driver import open_driver
from appliance.backends.cuda.error import CudaError
from appliance.backends.onnx_reasons import is_fault_of_data, is_lack_of_memory, short_reason
from appliance.backends.onnx_types import datatype_of_ort_type
from appliance.backends.onnxruntime_cuda import CudaSessionInstance
from appliance.backends.onnxruntime_placement import (
    CPU,
    CUDA,
    Placement,
    Providers,
    needs_gpu,
    on_cpu,
    place,
    thread_count,
)
from appliance.backends.operator_placement import judge_placement
from appliance.backends.session_arrays import aligned, array_of, as_text
from appliance.errors import Failed, InvalidInput
from appliance.model.config import InstanceGroup, InstanceKind
from appliance.model.datatype import Datatype
from appliance.model.signature import ModelSignature, SignatureTensor

if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    raise ImportError("onnxruntime was imported before ORT_DISABLE_TELEMETRY=1 was set")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # must stand before the import: later versions contact a collector

import onnxruntime

_MEMORY_HINT = "free GPU memory: unload a model, lower max_batch_size or the instance count; see: nvidia-smi"
WARNINGS = 2
ERRORS_ONLY = 3
NOT_EVEN_ERRORS = 4  # they are raised; on standard error, which is the journal, they would show values of requests
_OPTIMISATION = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def open_session(
    model_file: Path,
    *,
    providers: Sequence[str | tuple[str, dict[str, str]]] = (CPU,),
    intra_op_threads: int = 1,
    graph_level: int = 0,
    arena: bool = True,
    log_severity: int = ERRORS_ONLY,
) -> Any:
    """Open a session. Raises InvalidInput with ONNX Runtime's reason if the model is refused."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = log_severity
    options.intra_op_num_threads = intra_op_threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = arena
    options.graph_optimization_level = _OPTIMISATION.get(
        graph_level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    )
    # Idle threads of a pool would otherwise spin and take the CPU from other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    on_gpu = tuple(providers) != (CPU,)
    if on_gpu:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        return onnxruntime.InferenceSession(
            os.fspath(model_file), options, providers=list(providers), enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason = short_reason(error, os.fspath(model_file.parent))
        if on_gpu and is_lack_of_memory(error):
            raise Failed(f"{model_file.name} does not fit into GPU memory: {reason}", hint=_MEMORY_HINT) from error
        raise InvalidInput(f"ONNX Runtime refuses {model_file.name}: {reason}") from error


def session_signature(session: Any) -> ModelSignature:
    """Read inputs and outputs. Raises InvalidInput for a type that the protocol has no name for."""
    defaults = {argument.name for argument in session.get_overridable_initializers()}
    inputs = [*session.get_inputs(), *session.get_overridable_initializers()]
    return ModelSignature(
        tuple(_signature_tensor(argument, "input", optional=argument.name in defaults) for argument in inputs),
        tuple(_signature_tensor(argument, "output", optional=False) for argument in session.get_outputs()),
    )


def _signature_tensor(argument: Any, kind: str, *, optional: bool) -> SignatureTensor:
    datatype = datatype_of_ort_type(argument.type)
    if datatype is None:
        raise InvalidInput(
            f"{kind} '{argument.name}' has type {argument.type}, which the protocol cannot carry",
            hint="export the model with tensors of one of the 14 protocol datatypes",
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
    return SignatureTensor(argument.name, datatype, shape, optional)


class SessionInstance:
    """Runs one session; several instances may share it. Closing drops the reference."""

    def __init__(self, session: Any, signature: ModelSignature) -> None:
        self._session = session
        # The binding under InferenceSession.run: the wrapper checks what the codec has checked already, at 20 us a
        # call on a busy server (onnxruntime is pinned to one minor version; a test holds the call's form).
        self._run = session._sess.run  # noqa: SLF001
        tensors = (*signature.inputs, *signature.outputs)
        self._text = {tensor.name for tensor in signature.inputs if tensor.datatype is Datatype.BYTES}
        self._bf16 = any(tensor.datatype is Datatype.BF16 for tensor in tensors)
        self._datatypes = {tensor.name: tensor.datatype for tensor in signature.inputs}

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run the session once."""
        feeds = aligned(inputs if not self._text else self._with_text(inputs))
        try:
            if self._bf16:
                return self._execute_as_values(feeds, outputs)
            return self._run(outputs, feeds, None)  # type: ignore[no-any-return]  # onnxruntime is not typed
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise _execution_error(error) from error

    def _with_text(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: as_text(name, array) if name in self._text else array for name, array in inputs.items()}

    def _execute_as_values(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        # NumPy has no bfloat16, so the bits travel as uint16 in OrtValues that say what they are.
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, Datatype.BF16.onnx_number)
            if self._datatypes[name] is Datatype.BF16
            else onnxruntime.OrtValue.ortvalue_from_numpy(array)
            for name, array in feeds.items()
        }
        return [array_of(value) for value in self._session.run_with_ort_values(outputs, values)]

    def close(self) -> None:
        """Let go of the session."""
        self._session = self._run = None


class OnnxRuntimeModel:
    """One model file opened by ONNX Runtime, once for each placement where sessions can be shared."""

    def __init__(self, request: LoadRequest) -> None:
        self._request = request
        self._intra_op_threads = thread_count(request.config)
        self._opening = threading.Lock()  # instances are created by their own threads
        self._unused: dict[Providers, Any] = {}  # opened to see whether that works, not yet given to an instance
        self._shared: dict[Providers, Any] = {}
        self._contexts: dict[str, DeviceContext] = {}  # by UUID: for the page-locked buffers of instances on GPUs
        self._notes: dict[Providers, str] = {}
        try:
            self._placements = {_kind(group): self._settle(group) for group in request.groups}
            placements = list(self._placements.values())
            self.signature = session_signature(self._unused[placements[0].providers])
        except BaseException:
            self.close()
            raise
        self.device = ", ".join(dict.fromkeys(placement.device for placement in placements))
        notes = [placement.note or self._notes.get(placement.providers, "") for placement in placements]
        self.device_note = next((note for note in notes if note), "")

    @property
    def any_thread(self) -> bool:
        """Sessions on the CPU may be called from any thread."""
        return self.device == CPU and self._intra_op_threads == 1

    def create_instance(self, group: InstanceGroup) -> ModelInstance:
        """Make an instance; all share one session, except on the CPU with several intra-op threads."""
        with self._opening:
            placement = self._placements.get(_kind(group)) or self._settle(group)
            providers = placement.providers
            session = self._shared.get(providers) or self._unused.pop(providers, None) or self._open(placement)
            if placement.gpu is not None or self._intra_op_threads == 1:
                self._shared[providers] = session
            if placement.gpu is None or not CudaSessionInstance.takes(self.signature):
                return SessionInstance(session, self.signature)
            context = self._contexts.get(placement.gpu.uuid) or DeviceContext(open_driver(), placement.gpu)
            self._contexts[placement.gpu.uuid] = context
        frugal = partial(_frugal_options, placement.gpu.ordinal)
        return CudaSessionInstance(session, self.signature, context, frugal, _execution_error)

    def close(self) -> None:
        """Let go of the sessions."""
        self._unused.clear()
        self._shared.clear()
        while self._contexts:
            with suppress(CudaError):  # the context is lost: there is nothing left to give back
                self._contexts.popitem()[1].close()

    def _settle(self, group: InstanceGroup) -> Placement:
        """Open a session where the group shall run, or on the CPU where that is permitted."""
        placement = place(group, self._request, onnxruntime.get_available_providers())
        try:
            self._try(placement)
        except Failed as error:
            if placement.gpu is None or needs_gpu(group, self._request.execution):
                raise
            placement = on_cpu(error.message)
            self._try(placement)
        return placement

    def _try(self, placement: Placement) -> None:
        if placement.providers not in self._unused:
            self._unused[placement.providers] = self._open(placement)

    def _open(self, placement: Placement) -> Any:
        session = open_session(
            self._request.model_file,
            providers=[each if isinstance(each, str) else (each[0], dict(each[1])) for each in placement.providers],
            intra_op_threads=self._intra_op_threads,
            graph_level=self._request.config.optimization.graph.level,
            arena=self._request.config.parameter("enable_mem_arena", "1") != "0",
            log_severity=NOT_EVEN_ERRORS,
        )
        found = session.get_providers()[0]
        if found != placement.provider:
            raise Failed(
                f"asked ONNX Runtime for {placement.provider}, got {found}",
                hint="what this box can run: appliance doctor",
            )
        if placement.gpu is not None:
            self._notes[placement.providers] = _checked_operators(session)
        return session


class OnnxRuntimeBackend:
    """Loads ONNX files."""

    name = "onnxruntime"
    platform = "onnxruntime_onnx"
    default_cpu_instances = 2  # Triton's default; they share weights, so the second costs no memory

    def load(self, request: LoadRequest) -> OnnxRuntimeModel:
        """Open the file on the devices that the instance groups ask for."""
        return OnnxRuntimeModel(request)


BACKEND = OnnxRuntimeBackend()


def _kind(group: InstanceGroup) -> tuple[InstanceKind, tuple[int, ...]]:
    return group.kind, group.gpus


def _checked_operators(session: Any) -> str:
    """Return what to say about operators that CUDA leaves to the CPU. Raises Failed if they are the heavy ones.

    session.disable_cpu_ep_fallback is no way: it refuses the small operators on shapes too, which belong on the CPU.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name].update(node.op_type for node in part.get_nodes())
    verdict = judge_placement(counts, CUDA, CPU)
    if verdict.heavy:
        raise Failed(
            f"CUDA cannot compute {', '.join(verdict.heavy)} of this model: {verdict.note}",
            hint='INT8 models for the CPU do not run on GPUs: serve the FP32 or FP16 form, or set kind = "KIND_CPU"',
        )
    return verdict.note


def _frugal_options(ordinal: int) -> Any:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", f"gpu:{ordinal}")
    return options


def _execution_error(error: Exception) -> Exception:
    if isinstance(error, InvalidInput):
        return error
    reason = short_reason(error)
    if is_lack_of_memory(error):
        return Failed(f"out of memory: {reason}", hint="send smaller batches, or free memory: unload a model")
    if is_fault_of_data(error):
        return InvalidInput(f"the model refuses the data: {reason}")
    return Failed(f"ONNX Runtime failed: {reason}")
