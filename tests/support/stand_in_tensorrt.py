"""TensorRT's runtime over the stand-in driver, as strict as the documentation: profile, shapes and addresses first.

An engine here is a Python object handed over as its "file". Only what the adapter uses exists. `computing` is the
model: input arrays by name -> output arrays by name.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace

import numpy as np

from appliance.model.engine import ShapeRange
from tests.support.stand_in_cuda import StandInCuda

Named = SimpleNamespace
TYPES = {"FLOAT": np.float32, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_, "BF16": np.uint16}


@dataclass
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: str = "FLOAT"
    mode: str = "INPUT"
    location: str = "DEVICE"
    format: str = "LINEAR"


@dataclass
class StandInEngine:
    """ICudaEngine. `output_shapes`: input shapes -> output shapes, -1 where the data decide."""

    tensors: list[Tensor]
    profiles: list[dict[str, ShapeRange]]
    computing: Callable
    output_shapes: Callable
    values: dict[str, ShapeRange] = field(default_factory=dict)
    weights_bytes: int = 1 << 16
    device_memory_size_v2: int = 4096
    enqueue_fails: list[str] = field(default_factory=list)  # messages of executions to come that fail
    recordable: bool = True
    replay_differs: bool = False

    def __len__(self):
        """As a file, it has the size of its weights."""
        return self.weights_bytes

    contexts: int = 0

    @property
    def num_io_tensors(self):
        return len(self.tensors)

    @property
    def num_optimization_profiles(self):
        return len(self.profiles)

    def tensor(self, name):
        return next(tensor for tensor in self.tensors if tensor.name == name)

    def get_tensor_name(self, index):
        return self.tensors[index].name

    def get_tensor_mode(self, name):
        return Named(name=self.tensor(name).mode)

    def get_tensor_dtype(self, name):
        return Named(name=self.tensor(name).kind)

    def get_tensor_format(self, name):
        return Named(name=self.tensor(name).format)

    def get_tensor_location(self, name):
        return Named(name=self.tensor(name).location)

    def get_tensor_shape(self, name):
        return self.tensor(name).shape

    def get_tensor_profile_shape(self, name, index):
        allowed = self.profiles[index][name]
        return [allowed.min, allowed.opt, allowed.max]

    def get_tensor_profile_values(self, index: int, name: str):
        if not isinstance(index, int):
            raise TypeError
        allowed = self.values[name]
        return [list(allowed.min), list(allowed.opt), list(allowed.max)]

    def create_execution_context(self, strategy=None):
        return StandInContext(self, strategy)


@dataclass
class StandInRtxEngine(StandInEngine):
    """ICudaEngine of TensorRT-RTX: contexts are made from a configuration that holds the cache of its kernels."""

    kernels: bytes = b""
    strategy: str = ""

    def create_runtime_config(self):
        engine = self

        class Config:
            cuda_graph_strategy = "unset"

            def create_runtime_cache(self):
                return self

            def deserialize(self, data):
                engine.kernels = data
                return data != b"foreign"

            def serialize(self):
                return b"compiled"

            def set_runtime_cache(self, cache):
                return cache is self

        return Config()

    def create_execution_context(self, config=None):
        self.strategy = config.cuda_graph_strategy
        return StandInContext(self, None)


class StandInContext:
    """IExecutionContext."""

    def __init__(self, engine, strategy):
        self.engine, self.strategy = engine, strategy
        self.cuda, self.log = engine.cuda, engine.log
        self.profile, self.shapes, self.addresses, self.allocators = -1, {}, {}, {}
        self.memory = None
        self.settled = False  # whether one execution took place since shapes changed
        engine.contexts += 1

    def __del__(self):
        self.engine.contexts -= 1

    def set_device_memory(self, address, size):
        assert size >= self.engine.device_memory_size_v2
        self.memory = address

    def set_optimization_profile_async(self, index, stream):
        assert stream in self.cuda.handles
        self.profile, self.shapes, self.settled = index, {}, False
        return True

    def set_input_shape(self, name, shape):
        allowed = self.engine.profiles[self.profile][name]
        fits = all(low <= size <= high for low, size, high in zip(allowed.min, shape, allowed.max, strict=True))
        if not fits:
            self.log("ERROR", f"[api.cpp::setInputShape::1] Error Code 3: API Usage Error ({name})")
            return False
        self.shapes[name], self.settled = tuple(shape), False
        return True

    def set_tensor_address(self, name, address):
        memory = self.cuda.host if self.engine.tensor(name).location == "HOST" else self.cuda.device
        assert self.cuda.covers(memory, address, 1), name
        self.addresses[name] = address
        return True

    def set_output_allocator(self, name, allocator):
        self.allocators[name] = allocator
        return True

    def infer_shapes(self):
        assert self.profile >= 0
        missing = [each.name for each in self.inputs if each.name not in self.current_shapes()]
        if not missing:
            self.found = self.engine.output_shapes(self.current_shapes(), self.host_values())
        return missing

    def get_tensor_shape(self, name):
        return self.found[name]

    def get_max_output_size(self, name):
        return -1

    def is_stream_capturable(self, stream):
        return self.engine.recordable

    @property
    def inputs(self):
        return [tensor for tensor in self.engine.tensors if tensor.mode == "INPUT"]

    def current_shapes(self):
        fixed = {each.name: each.shape for each in self.inputs if min(each.shape, default=0) >= 0}
        return fixed | self.shapes

    def host_values(self):
        return {
            each.name: self.read(each.name, self.current_shapes()[each.name])
            for each in self.inputs
            if each.location == "HOST"
        }

    def execute_async_v3(self, stream):
        if self.engine.enqueue_fails:
            self.log("ERROR", self.engine.enqueue_fails.pop(0))
            return False
        if self.strategy == "USER_MANAGED":
            assert self.cuda.covers(self.cuda.device, self.memory, self.engine.device_memory_size_v2)
        recording = stream in self.cuda.recording
        assert self.settled or not recording, "shapes changed and nothing was executed before recording"
        self.settled = True
        shapes = self.current_shapes()
        if self.allocators:
            return self.execute_with_allocators(shapes)
        extra = recording and self.engine.replay_differs
        self.cuda.run(stream, lambda: self.execute(shapes, extra))
        return True

    def execute(self, shapes, extra):
        assert shapes == self.current_shapes(), "the context changed under a recording"
        for name, array in self.computed(shapes).items():
            assert array.shape == tuple(self.found[name])
            self.write(self.addresses[name], self.engine.tensor(name), array + extra if extra else array)

    def execute_with_allocators(self, shapes):
        for name, array in self.computed(shapes).items():
            if name not in self.allocators:
                self.write(self.addresses[name], self.engine.tensor(name), array)
                continue
            address = self.allocators[name].reallocate_output_async(name, 0, array.nbytes, 256, 0)
            if not address:
                self.log("ERROR", "Error Code 2: OutOfMemory (Requested size was 1 bytes.)")
                return False
            self.allocators[name].notify_shape(name, array.shape)
            self.write(address, self.engine.tensor(name), array)
        return True

    def computed(self, shapes):
        return self.engine.computing({name: self.read(name, shape) for name, shape in shapes.items()})

    def read(self, name, shape):
        tensor, dtype = self.engine.tensor(name), np.dtype(TYPES[self.engine.tensor(name).kind])
        size = int(np.prod(shape)) * dtype.itemsize
        memory = self.cuda.host if tensor.location == "HOST" else self.cuda.device
        assert self.cuda.covers(memory, self.addresses[name], size), name
        return np.frombuffer(ctypes.string_at(self.addresses[name], size), dtype).reshape(shape)

    def write(self, address, tensor, array):
        data = np.ascontiguousarray(array, dtype=TYPES[tensor.kind]).tobytes()
        assert self.cuda.covers(self.cuda.device, address, len(data)), tensor.name
        ctypes.memmove(address, data, len(data))


class Severity(Enum):
    ERROR = 1


def stand_in_tensorrt(cuda: StandInCuda) -> SimpleNamespace:
    """The module."""

    class Logger:
        pass

    class Allocator:
        pass

    class Runtime:
        def __init__(self, sink):
            self.sink = sink

        def deserialize_cuda_engine(self, data):
            def log(severity, message):
                self.sink.log(Named(name=severity), message)

            if not isinstance(data, StandInEngine):
                log("ERROR", "[runtime.cpp::parse::9] Error Code 1: Serialization (Version tag does not match)")
                return None
            data.cuda, data.log = cuda, log
            return data

    return SimpleNamespace(
        ILogger=Logger,
        IOutputAllocator=Allocator,
        Runtime=Runtime,
        CudaGraphStrategy=Named(WHOLE_GRAPH_CAPTURE="WHOLE_GRAPH_CAPTURE", DISABLED="DISABLED"),
        ExecutionContextAllocationStrategy=Named(USER_MANAGED="USER_MANAGED"),
    )
