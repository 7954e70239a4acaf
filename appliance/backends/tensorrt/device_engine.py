"""One engine on one GPU: its weights are in GPU memory once, whatever the number of instances.

The GPU's context is current on the calling thread in every method. Ownership: one TensorRtModel; all execution
contexts are closed before.
"""

from typing import Any

from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.engine_file import EngineFile, EngineRefused
from appliance.backends.tensorrt.engine_layout import EngineLayout, read_layout
from appliance.backends.tensorrt.engine_log import EngineLog, OutOfGpuMemory


class DeviceEngine:
    """Deserialises an engine and makes execution contexts."""

    def __init__(self, trt: Any, context: DeviceContext, file: EngineFile, *, graphs: bool) -> None:
        """graphs: whether sequences of GPU work may be recorded and replayed.

        Raises Failed with TensorRT's reason; then nothing is left behind.
        """
        self.trt = trt
        self.context = context
        self.log = EngineLog(trt)
        self._runtime = trt.Runtime(self.log.sink)
        # engine_host_code_allowed stays False: engines of ours carry no code for the CPU.
        self._engine = self._runtime.deserialize_cuda_engine(file.data)
        if self._engine is None:
            self._runtime = None
            failure = self.log.failure(
                "TensorRT cannot load the engine", hint="what this box can run: appliance doctor"
            )
            if isinstance(failure, OutOfGpuMemory):
                raise failure
            raise EngineRefused(failure.message, hint=failure.hint)
        self._config: Any = None
        self._cache: Any = None
        try:
            self.layout: EngineLayout = read_layout(self._engine)
            self._configure(file, graphs=graphs)
        except BaseException:
            self.close()  # not when the traceback goes: the GPU's context is gone by then
            raise
        # TensorRT-RTX records graphs itself, when its kernels for the shape are ready. Otherwise we do.
        self.records_graphs = graphs and not hasattr(self._config, "cuda_graph_strategy")

    @property
    def activation_bytes(self) -> int:
        """GPU memory that one execution needs for what lies between inputs and outputs, at any profile."""
        newer = getattr(self._engine, "device_memory_size_v2", None)
        return int(self._engine.device_memory_size if newer is None else newer)

    def new_context(self) -> Any:
        """Make an IExecutionContext with memory of its own."""
        self.log.clear()
        made = (
            self._engine.create_execution_context()
            if self._config is None
            else self._engine.create_execution_context(self._config)
        )
        return self._checked(made)

    def new_context_in(self, address: int, size_bytes: int) -> Any:
        """Make an IExecutionContext that keeps its activations at an address of ours."""
        self.log.clear()
        made = self._checked(
            self._engine.create_execution_context(self.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        )
        if hasattr(made, "set_device_memory"):
            made.set_device_memory(address, size_bytes)
        else:
            made.device_memory = address
        return made

    def serialized_runtime_cache(self) -> bytes:
        """The kernels that TensorRT-RTX has compiled so far; empty for TensorRT, which compiles while building."""
        return b"" if self._cache is None else bytes(memoryview(self._cache.serialize()))

    def close(self) -> None:
        """Give the weights back."""
        self._cache = self._config = self._engine = self._runtime = None

    def _checked(self, made: Any) -> Any:
        if made is None:
            raise self.log.failure("TensorRT cannot make an execution context")
        return made

    def _configure(self, file: EngineFile, *, graphs: bool) -> None:
        """Prepare what TensorRT-RTX needs beyond the engine, because it compiles for the GPU when it runs."""
        config: Any = self._engine.create_runtime_config() if hasattr(self._engine, "create_runtime_config") else None
        if hasattr(config, "cuda_graph_strategy"):
            strategies = self.trt.CudaGraphStrategy
            config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE if graphs else strategies.DISABLED
            self._config = config
        if hasattr(config, "create_runtime_cache"):
            self._cache = config.create_runtime_cache()
            # A cache of another driver or GPU is refused and stays empty: kernels are compiled again.
            if file.runtime_cache and not self._cache.deserialize(file.runtime_cache):
                self.log.clear()
            if not config.set_runtime_cache(self._cache):
                raise self.log.failure("TensorRT-RTX refuses its runtime cache")
            self._config = config
