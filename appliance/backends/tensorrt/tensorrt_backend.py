"""TensorRT: loads engines that were built on this box, and runs them.

It never builds: the engine comes verified with the LoadRequest. TensorRT and the CUDA driver are opened only then, so
the module can be imported anywhere.
"""

import logging
from contextlib import ExitStack
from typing import Any

from appliance.backends.base import LoadRequest
from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.driver import Driver, open_driver
from appliance.backends.cuda.error import CudaError
from appliance.backends.cuda.gpu import Gpu, choose_gpu, free_bytes, list_gpus
from appliance.backends.engine_file import EngineFile
from appliance.backends.tensorrt.device_engine import DeviceEngine
from appliance.backends.tensorrt.flavour import choose_flavour, load_tensorrt
from appliance.backends.tensorrt.tensorrt_instance import TensorRtInstance
from appliance.errors import Failed, InvalidInput
from appliance.model.config import InstanceGroup, InstanceKind, ModelConfig
from appliance.model.datatype import Datatype
from appliance.model.signature import ModelSignature

logger = logging.getLogger(__name__)


class TensorRtModel:
    """One engine, on every GPU that the instance groups name."""

    any_thread = False  # an instance is bound to the thread that made it
    device_note = ""

    def __init__(self, request: LoadRequest, driver: Driver, trt: Any, product: str) -> None:
        """Deserialise the engine; product: "TensorRT 10.16.1". Raises InvalidInput or Failed, and leaves nothing."""
        file = _checked_engine(request)
        graphs = _graphs_wanted(request.config)
        available = list_gpus(driver)
        self._gpu_uuid = request.gpu_uuid
        self._available = available
        self._engines: dict[str, DeviceEngine] = {}  # by UUID
        self._free_before: dict[str, int] = {}
        with ExitStack() as resources:
            for gpu in dict.fromkeys(self._gpu_of(group) for group in request.groups):
                context = DeviceContext(driver, gpu)
                resources.callback(context.close)
                with context.current():
                    self._free_before[gpu.uuid] = free_bytes(driver, gpu)
                    _require_memory(request, file, gpu, self._free_before[gpu.uuid])
                    engine = DeviceEngine(trt, context, file, graphs=graphs)
                self._engines[gpu.uuid] = engine
                resources.callback(_close_engine, engine)
            self._resources = resources.pop_all()
        first = next(iter(self._engines.values()))
        self.signature: ModelSignature = first.layout.signature
        places = ", ".join(f"{each.context.gpu.name} ({uuid})" for uuid, each in self._engines.items())
        self.device = f"{product} on {places}"

    @property
    def device_bytes(self) -> int:
        """GPU memory taken since just before the load, on all GPUs together.

        Measured: what other models take or give back meanwhile is in it.
        """
        return sum(self._taken(engine) for engine in self._engines.values())

    def create_instance(self, group: InstanceGroup) -> TensorRtInstance:
        """Make one executable copy for the calling thread."""
        return TensorRtInstance(self._engines[self._gpu_of(group).uuid])

    def serialized_runtime_cache(self) -> bytes:
        """What TensorRT-RTX compiled for this engine, to be kept beside it; empty if there is nothing to keep."""
        engine = next(iter(self._engines.values()))
        with engine.context.current():
            return engine.serialized_runtime_cache()

    def close(self) -> None:
        """Give weights and contexts back."""
        try:
            self._resources.close()
        except CudaError as error:  # the context is lost: there is nothing left to give back
            logger.warning("a model could not be closed in order: %s", error)

    def _gpu_of(self, group: InstanceGroup) -> Gpu:
        if group.kind is InstanceKind.CPU:
            raise InvalidInput(
                f"instance group '{group.name}' is KIND_CPU, but TensorRT computes on GPUs",
                hint="set kind = \"KIND_GPU\", or take 'tensorrt' out of execution",
            )
        return choose_gpu(self._available, ordinals=group.gpus, wanted=self._gpu_uuid)

    def _taken(self, engine: DeviceEngine) -> int:
        gpu = engine.context.gpu
        with engine.context.current():
            return max(0, self._free_before[gpu.uuid] - free_bytes(engine.context.driver, gpu))


class TensorRtBackend:
    """Loads engines."""

    name = "tensorrt"
    platform = "tensorrt_plan"
    default_cpu_instances = 1

    def load(self, request: LoadRequest) -> TensorRtModel:
        """Load the engine of the request on the GPUs that its instance groups name."""
        flavour = choose_flavour(_checked_engine(request).flavour)
        driver = open_driver()
        product = "TensorRT-RTX" if flavour.name == "tensorrt-rtx" else "TensorRT"
        return TensorRtModel(request, driver, load_tensorrt(flavour), f"{product} {flavour.version}")


BACKEND = TensorRtBackend()


def _checked_engine(request: LoadRequest) -> EngineFile:
    """Return the engine. Raises InvalidInput or Failed for what TensorRT cannot serve."""
    tensors = [(tensor.name, tensor.data_type) for tensor in request.config.input]
    tensors += [(tensor.name, tensor.data_type) for tensor in request.config.output]
    for name, datatype in tensors:
        if datatype is Datatype.BYTES:
            raise InvalidInput(
                f"tensor '{name}' is TYPE_STRING: TensorRT has no strings, such a model runs on the CPU",
                hint="take 'tensorrt' out of execution",
            )
    if request.engine is None:
        raise Failed(
            f"there is no engine for {request.model_file.name} yet", hint="build it: appliance engines build MODEL"
        )
    return request.engine


def _require_memory(request: LoadRequest, file: EngineFile, gpu: Gpu, free: int) -> None:
    """Refuse what cannot fit before anything is allocated: a load that fails half-way disturbs its neighbours."""
    needed = max(file.device_bytes, file.size_bytes)
    if free < needed:
        measured = "as measured at its last load" if file.device_bytes else "for its weights alone"
        raise Failed(
            f"{request.model_file.name} needs {_mebibytes(needed)} on {gpu.name} ({measured}), "
            f"{_mebibytes(free)} of {_mebibytes(gpu.total_bytes)} are free",
            hint="see what takes it: appliance status; or unload a model: appliance models deactivate NAME",
        )


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"


def _graphs_wanted(config: ModelConfig) -> bool:
    text = config.parameter("cuda_graphs", "1")
    if text not in ("0", "1"):
        raise InvalidInput(f"parameter cuda_graphs is '{text}', expected 0 or 1")
    return text == "1"


def _close_engine(engine: DeviceEngine) -> None:
    with engine.context.current():
        engine.close()
