"""The smallest engine there is, parsed, built and run: whether a TensorRT installation works, tried by `probe`.

For a process of its own: what fails here may take the process down.
"""

import re
from typing import Any

import numpy as np

from appliance.backends.cuda.device_context import DeviceContext
from appliance.backends.cuda.driver import Driver, open_driver
from appliance.backends.cuda.gpu import Gpu, list_gpus
from appliance.backends.cuda.memory import DeviceBuffer, PinnedBuffer
from appliance.backends.cuda.stream import Stream
from appliance.backends.probe_model import EXPECTED, GIVEN, INPUT, MODEL, OUTPUT
from appliance.backends.tensorrt.engine_log import EngineLog
from appliance.backends.tensorrt.flavour import installed_flavours, load_tensorrt
from appliance.errors import ApplianceError, Failed, NotFound

_TARGET = re.compile(r"SM(\d+)(\d)")
_FP32 = np.dtype(np.float32)


class SmallestEngine:
    """One engine in one process: `open_gpu`, `build`, `run`, in this order."""

    def __init__(self, flavour_name: str) -> None:
        """Load TensorRT. Raises Failed with the remedy if that is impossible."""
        flavour = next((each for each in installed_flavours() if each.name == flavour_name), None)
        if flavour is None:
            raise Failed(f"{flavour_name} is not installed", hint=f"pip install 'appliance[{flavour_name}]'")
        self._trt: Any = load_tensorrt(flavour)
        self._log = EngineLog(self._trt)
        self._driver: Driver | None = None
        self._gpu: Gpu | None = None
        self._engine: Any = None
        self.library_version = str(self._trt.__version__)

    @property
    def targets(self) -> tuple[str, ...]:
        """Compute capabilities that it builds for by name, without a GPU; none with the full TensorRT."""
        members = dir(getattr(self._trt, "ComputeCapability", object))
        found = (_TARGET.fullmatch(member) for member in members)
        return tuple(sorted((f"{match[1]}.{match[2]}" for match in found if match), key=float))

    @property
    def built(self) -> bool:
        """Whether `build` succeeded."""
        return self._engine is not None

    @property
    def gpu_name(self) -> str:
        """The GPU that `open_gpu` found."""
        assert self._gpu is not None
        return self._gpu.name

    def open_gpu(self) -> ApplianceError | None:
        """Open the first GPU; return why there is none."""
        try:
            driver = open_driver()
            gpus = list_gpus(driver)
            if not gpus:
                raise NotFound("the NVIDIA driver shows no GPU", hint="look at the driver: nvidia-smi")
        except ApplianceError as error:
            return error
        self._driver, self._gpu = driver, gpus[0]
        return None

    def build(self, compute_capability: str) -> str:
        """Build for the opened GPU, else for the named compute capability; say for what. Raises Failed."""
        if self._gpu is None and not self.targets:
            raise Failed("the full TensorRT builds on the GPU only, and there is none")
        trt = self._trt
        builder = trt.Builder(self._log.sink)
        network = builder.create_network(0)
        parser = trt.OnnxParser(network, self._log.sink)
        if not parser.parse(MODEL):
            raise self._log.failure("its parser refuses a model of two nodes")
        config = builder.create_builder_config()
        described = self._aim(config, compute_capability)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise self._log.failure(f"no engine can be built {described}")
        self._engine = bytes(engine)
        return f"built {described}"

    def run(self) -> list[float]:
        """Compute once on the opened GPU. Raises Failed or CudaError."""
        assert self._driver is not None
        assert self._gpu is not None
        context = DeviceContext(self._driver, self._gpu)
        context.enter_thread()
        runtime = self._trt.Runtime(self._log.sink)
        engine = runtime.deserialize_cuda_engine(self._engine)
        if engine is None:
            raise self._log.failure("the engine that was just built cannot be loaded")
        execution = engine.create_execution_context()
        if execution is None:
            raise self._log.failure("the engine has no room to run")
        return self._compute(self._driver, execution)

    def _aim(self, config: Any, compute_capability: str) -> str:
        """Name what to build for, where TensorRT wants it named; return it in words."""
        wanted = compute_capability if self._gpu is None else self._gpu.compute_capability
        if not self.targets:
            return f"for {self.gpu_name}"
        if wanted in self.targets:
            target = getattr(self._trt.ComputeCapability, f"SM{wanted.replace('.', '')}")
            config.num_compute_capabilities = 1
            config.set_compute_capability(target, 0)
        elif self._gpu is None:
            raise Failed(f"it has no target for compute capability {wanted}, only {', '.join(self.targets)}")
        # Else: it has no name for this GPU; whether it can serve it all the same is found by trying.
        return f"for compute capability {wanted}"

    def _compute(self, driver: Driver, execution: Any) -> list[float]:
        size_bytes = len(GIVEN) * _FP32.itemsize
        with (
            PinnedBuffer(driver, 2 * size_bytes) as host,
            DeviceBuffer(driver, size_bytes) as given,
            DeviceBuffer(driver, size_bytes) as found,
            Stream(driver) as stream,
        ):
            host.array(_FP32, (len(GIVEN),))[:] = GIVEN
            answer = host.array(_FP32, (len(EXPECTED),), offset=size_bytes)
            stream.upload(given.address, host.address, size_bytes)
            for name, buffer in ((INPUT, given), (OUTPUT, found)):
                if not execution.set_tensor_address(name, buffer.address):
                    raise self._log.failure(f"tensor '{name}' cannot be bound")
            if not execution.execute_async_v3(stream.handle):
                raise self._log.failure("the engine cannot be run")
            stream.download(host.address + size_bytes, found.address, size_bytes)
            stream.synchronize()
            return [float(value) for value in answer]
