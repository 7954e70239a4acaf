"""ONNX Runtime, on the CPU or through CUDA: the only module that imports onnxruntime.

Providers are always named explicitly and the provider really used is compared with the one asked for, because
ONNX Runtime falls back to the CPU without a word. With one intra-op thread all CPU instances of a model share one
session: `run` may be called from several threads, and the weights are in memory once.
"""

import ctypes
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from appliance.backends.base import Array, LoadRequest, ModelInstance
from appliance.backends.onnx_reasons import short_reason
from appliance.backends.onnx_types import datatype_of_ort_type
from appliance.errors import Failed, InvalidInput
from appliance.model.config import InstanceGroup, InstanceKind, ModelConfig
from appliance.model.datatype import Datatype
from appliance.model.execution import ExecutionPolicy
from appliance.model.signature import ModelSignature, SignatureTensor

if "onnxruntime" in sys.modules and os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
    raise ImportError("onnxruntime was imported before ORT_DISABLE_TELEMETRY=1 was set")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # must stand before the import: later versions contact a collector

import onnxruntime

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
WARNINGS = 2
ERRORS_ONLY = 3
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
    try:
        return onnxruntime.InferenceSession(os.fspath(model_file), options, providers=list(providers))
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason = short_reason(error, os.fspath(model_file.parent))
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
        feeds = _aligned(inputs if not self._text else self._with_text(inputs))
        try:
            if self._bf16:
                return self._execute_as_values(feeds, outputs)
            return self._run(outputs, feeds, None)  # type: ignore[no-any-return]  # onnxruntime is not typed
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise _execution_error(error) from error

    def _with_text(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: _as_text(name, array) if name in self._text else array for name, array in inputs.items()}

    def _execute_as_values(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        # NumPy has no bfloat16, so the bits travel as uint16 in OrtValues that say what they are.
        values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array, Datatype.BF16.onnx_number)
            if self._datatypes[name] is Datatype.BF16
            else onnxruntime.OrtValue.ortvalue_from_numpy(array)
            for name, array in feeds.items()
        }
        return [_array_of(value) for value in self._session.run_with_ort_values(outputs, values)]

    def close(self) -> None:
        """Let go of the session."""
        self._session = self._run = None


Providers = tuple[str | tuple[str, tuple[tuple[str, str], ...]], ...]


class OnnxRuntimeModel:
    """One model file opened by ONNX Runtime, once for each placement where sessions can be shared."""

    def __init__(self, request: LoadRequest) -> None:
        self._request = request
        self._intra_op_threads = _thread_count(request.config)
        placements = [_placement(group, request.execution) for group in request.groups]
        self._opening = threading.Lock()  # instances are created by their own threads
        self._unused: dict[Providers, Any] = {}  # opened for its signature, not yet given to an instance
        self._shared: dict[Providers, Any] = {}
        first = placements[0][0]
        session = self._unused[first] = self._open(first)
        self.signature = session_signature(session)
        self.device = ", ".join(dict.fromkeys(_provider_name(providers) for providers, _ in placements))
        self.device_note = next((note for _, note in placements if note), "")

    @property
    def any_thread(self) -> bool:
        """Sessions on the CPU may be called from any thread."""
        return self.device == CPU and self._intra_op_threads == 1

    def create_instance(self, group: InstanceGroup) -> ModelInstance:
        """Make an instance; on the CPU with one intra-op thread all of them share one session."""
        providers, _ = _placement(group, self._request.execution)
        with self._opening:
            session = self._shared.get(providers) or self._unused.pop(providers, None) or self._open(providers)
            if _provider_name(providers) == CPU and self._intra_op_threads == 1:
                self._shared[providers] = session
        return SessionInstance(session, self.signature)

    def close(self) -> None:
        """Let go of the sessions."""
        self._unused.clear()
        self._shared.clear()

    def _open(self, providers: Providers) -> Any:
        session = open_session(
            self._request.model_file,
            providers=[each if isinstance(each, str) else (each[0], dict(each[1])) for each in providers],
            intra_op_threads=self._intra_op_threads,
            graph_level=self._request.config.optimization.graph.level,
            arena=self._request.config.parameter("enable_mem_arena", "1") != "0",
        )
        wanted = _provider_name(providers)
        if session.get_providers()[0] != wanted:
            raise Failed(
                f"asked ONNX Runtime for {wanted}, got {session.get_providers()[0]}",
                hint="what this box can run: appliance doctor",
            )
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


def _placement(group: InstanceGroup, policy: ExecutionPolicy) -> tuple[Providers, str]:
    """Return the providers for a group, and why they are not what was asked for ('' if they are)."""
    if group.kind is InstanceKind.CPU:
        return (CPU,), ""
    if len(group.gpus) > 1:
        raise InvalidInput(
            f"instance group '{group.name}' names GPUs {list(group.gpus)}, expected one",
            hint="write one instance_group for each GPU",
        )
    if CUDA in onnxruntime.get_available_providers():
        options = (("device_id", str((group.gpus or (0,))[0])), ("arena_extend_strategy", "kSameAsRequested"))
        return ((CUDA, options), CPU), ""
    missing = "this onnxruntime has no CUDA provider"
    if group.kind is InstanceKind.AUTO or policy is ExecutionPolicy.PREFER:
        return (CPU,), f"runs on the CPU: {missing}"
    raise Failed(
        f"KIND_GPU is required, but {missing}",
        hint='pip install \'appliance[gpu]\' on an NVIDIA box, or set execution = "prefer" or kind = "KIND_CPU"',
    )


def _provider_name(providers: Providers) -> str:
    first = providers[0]
    return first if isinstance(first, str) else first[0]


def _thread_count(config: ModelConfig) -> int:
    text = config.parameter("intra_op_thread_count", "1")
    if not text.isdigit() or not 1 <= int(text) <= (os.cpu_count() or 1) * 4:
        raise InvalidInput(
            f"parameter intra_op_thread_count is '{text}', expected 1 to {(os.cpu_count() or 1) * 4} on this machine"
        )
    return int(text)


def _as_text(name: str, array: Array) -> Array:
    """ONNX strings are UTF-8 text; ONNX Runtime would otherwise take the Python spelling of a bytes object."""
    text = np.empty(array.shape, dtype=object)
    try:
        text.reshape(-1)[:] = [element.decode() for element in array.reshape(-1)]
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"input '{name}': ONNX strings are UTF-8 text, got a byte 0x{error.object[error.start]:02x} "
            f"at offset {error.start} of an element"
        ) from error
    return text


def _aligned(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
    """Views of a received message begin anywhere; C++ code may rely on natural alignment."""
    for array in inputs.values():
        if not array.flags.aligned:
            return {name: each if each.flags.aligned else each.copy() for name, each in inputs.items()}
    return inputs


def _array_of(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()  # type: ignore[no-any-return]  # onnxruntime is not typed
    size = value.tensor_size_in_bytes()
    bits = (ctypes.c_char * size).from_address(value.data_ptr()) if size else b""
    return np.frombuffer(bits, dtype=np.uint16).reshape(value.shape()).copy()  # the OrtValue owns the memory


def _execution_error(error: Exception) -> Exception:
    if isinstance(error, InvalidInput):
        return error
    reason = short_reason(error)
    if type(error).__name__ == "InvalidArgument":
        return InvalidInput(f"the model refuses the data: {reason}")
    return Failed(f"ONNX Runtime failed: {reason}")
