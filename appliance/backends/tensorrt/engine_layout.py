"""What an engine takes and gives: names, types, places and the ranges of its optimisation profiles.

Read once when the engine is loaded; everything else asks this and not TensorRT.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from appliance.backends.tensorrt.engine_datatypes import datatype_of_engine_type
from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.engine import ShapeRange
from appliance.model.signature import ModelSignature, SignatureTensor

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EngineTensor:
    """One input or output; `shape` is complete, -1 is free."""

    name: str
    datatype: Datatype
    shape: Shape
    on_host: bool = False  # its values are shapes: TensorRT reads or writes them in host memory

    @property
    def fixed(self) -> bool:
        """Whether its shape is fixed by the engine."""
        return min(self.shape, default=0) >= 0


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """What one optimisation profile allows."""

    shapes: Mapping[str, ShapeRange]  # every input
    values: Mapping[str, ShapeRange]  # inputs on the host, flattened: the values themselves have ranges


@dataclass(frozen=True, slots=True)
class EngineLayout:
    """One engine's border."""

    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    profiles: tuple[EngineProfile, ...]

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in serving's words."""
        inputs, outputs = (
            tuple(SignatureTensor(tensor.name, tensor.datatype, tensor.shape) for tensor in tensors)
            for tensors in (self.inputs, self.outputs)
        )
        return ModelSignature(inputs, outputs)

    @property
    def has_host_inputs(self) -> bool:
        """Whether values of an input decide over shapes."""
        return any(tensor.on_host for tensor in self.inputs)


def read_layout(engine: Any) -> EngineLayout:
    """Read an ICudaEngine. Raises InvalidInput for tensors that cannot be served."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    taken = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
    inputs = tuple(_tensor(engine, name, "input") for name in taken)
    outputs = tuple(_tensor(engine, name, "output") for name in names if name not in taken)
    profiles = tuple(_profile(engine, inputs, index) for index in range(engine.num_optimization_profiles))
    return EngineLayout(inputs, outputs, profiles)


def _tensor(engine: Any, name: str, kind: str) -> EngineTensor:
    type_name = engine.get_tensor_dtype(name).name
    datatype = datatype_of_engine_type(type_name)
    if datatype is None:
        raise InvalidInput(
            f"{kind} '{name}' of the engine has TensorRT's type {type_name}, which the protocol cannot carry",
            hint="convert the model with inputs and outputs of FP32, FP16, BF16, INT8, UINT8, INT32, INT64 or BOOL",
        )
    if engine.get_tensor_format(name).name != "LINEAR":
        raise InvalidInput(
            f"{kind} '{name}' of the engine has the layout {engine.get_tensor_format(name).name}, expected LINEAR",
            hint="build it again: appliance engines build",
        )
    return EngineTensor(
        name, datatype, tuple(engine.get_tensor_shape(name)), on_host=engine.get_tensor_location(name).name == "HOST"
    )


def _profile(engine: Any, inputs: tuple[EngineTensor, ...], index: int) -> EngineProfile:
    shapes = {
        tensor.name: ShapeRange(tensor.shape, tensor.shape, tensor.shape)
        if tensor.fixed
        else ShapeRange(*(tuple(shape) for shape in engine.get_tensor_profile_shape(tensor.name, index)))
        for tensor in inputs
    }
    ranges = {tensor.name: _value_range(engine, tensor.name, index) for tensor in inputs if tensor.on_host}
    values = {name: found for name, found in ranges.items() if found is not None}
    return EngineProfile(MappingProxyType(shapes), MappingProxyType(values))


def _value_range(engine: Any, name: str, index: int) -> ShapeRange | None:
    try:
        found = engine.get_tensor_profile_values(index, name)
    except TypeError:  # which of the two comes first differs between versions, whatever their documentation says
        found = engine.get_tensor_profile_values(name, index)
    return ShapeRange(*(tuple(values) for values in found)) if found else None
