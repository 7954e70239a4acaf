"""What a request header asks of a model: everything that can be checked before looking at tensor data.

A plan is made once for each distinct header and remembered (infer.py), because clients repeat theirs. It belongs to
one LoadedModel and dies with it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.errors import InvalidInput, NotFound
from appliance.model.datatype import Datatype
from appliance.model.tensor import TensorSpec, format_shape
from appliance.rpc.parameters import check_request_parameters
from appliance.rpc.pb.grpc_service_pb2 import ModelInferRequest
from appliance.serving.direct_path import DirectMeter
from appliance.serving.loaded_model import LoadedModel

_REGION = "shared_memory_region"
# NumPy refuses an array without elements whose other axes are too long: rows of a batch (16 bits) times 8 bytes fit.
_MOST_BESIDE_EMPTY = 2**40
_NO_CLASSES = (Datatype.BYTES, Datatype.BOOL, Datatype.FP16, Datatype.BF16)


@dataclass(frozen=True, slots=True)
class PlannedInput:
    """One input of a request; `size_bytes` is what its raw data must have (0 for BYTES: any)."""

    spec: TensorSpec
    shape: tuple[int, ...]
    size_bytes: int


ResponseFrame = tuple[bytes, tuple[bytes, ...]]  # header, and what stands before each output's data


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """A checked header. `classes`: output name -> number of classes asked for."""

    model: LoadedModel
    inputs: tuple[PlannedInput, ...]
    outputs: tuple[str, ...]
    classes: Mapping[str, int]
    rows: int
    batch_key: tuple[tuple[str, tuple[int, ...]], ...]
    priority: int
    timeout_us: int
    has_bytes_output: bool
    meter: DirectMeter = field(default_factory=DirectMeter)
    response_frames: dict[tuple[tuple[int, ...], ...], ResponseFrame] = field(default_factory=dict)


def make_plan(message: ModelInferRequest, model: LoadedModel) -> RequestPlan:
    """Check a header against a model. Raises InvalidInput or NotFound (a shared-memory region)."""
    priority, timeout_us = check_request_parameters(message.parameters) if message.parameters else (0, 0)
    inputs: dict[str, PlannedInput] = {}
    for tensor in message.inputs:
        planned = _plan_input(tensor, inputs, model)
        inputs[planned.spec.name] = planned
    _check_complete(inputs, model)
    outputs, classes = _plan_outputs(message, model)
    rows, batch_key = _batch(inputs, model)
    has_bytes_output = any(model.served.outputs[name].datatype is Datatype.BYTES for name in outputs)
    return RequestPlan(
        model, tuple(inputs.values()), outputs, classes, rows, batch_key, priority, timeout_us, has_bytes_output
    )


def _plan_input(
    tensor: ModelInferRequest.InferInputTensor, inputs: Mapping[str, PlannedInput], model: LoadedModel
) -> PlannedInput:
    spec = model.served.inputs.get(tensor.name)
    if spec is None:
        raise InvalidInput(
            f"unexpected inference input '{tensor.name}' for model '{model.name}', "
            f"expected {', '.join(repr(name) for name in model.served.inputs)}"
        )
    if spec.name in inputs:
        raise InvalidInput(f"input '{tensor.name}' already exists in request for model '{model.name}'")
    if tensor.datatype != spec.datatype.wire_name:
        raise InvalidInput(
            f"inference input '{tensor.name}' data-type is '{tensor.datatype}', but model '{model.name}' expects "
            f"'{spec.datatype.wire_name}'"
        )
    shape = tuple(tensor.shape)
    _check_shape(spec, shape, model)
    if _REGION in tensor.parameters:
        if tensor.HasField("contents"):
            raise InvalidInput(
                f"unexpected 'content' provided when using shared memory for input tensor '{tensor.name}' "
                f"for model '{model.name}'"
            )
        raise _unknown_region(tensor.parameters[_REGION].string_param)
    return PlannedInput(spec, shape, math.prod(shape) * spec.datatype.size_bytes)


def _check_shape(spec: TensorSpec, shape: tuple[int, ...], model: LoadedModel) -> None:
    max_batch_size = model.served.max_batch_size
    if shape and min(shape) < 0:
        raise InvalidInput(
            f"All input dimensions should be specified for input '{spec.name}' for model '{model.name}', "
            f"got {format_shape(shape)}"
        )
    if max_batch_size and not shape:
        raise InvalidInput(f"input '{spec.name}' has no shape but model requires batch dimension for '{model.name}'")
    if max_batch_size and not 1 <= shape[0] <= max_batch_size:
        expected = ">= 1" if shape[0] < 1 else f"<= {max_batch_size}"
        raise InvalidInput(f"inference request batch-size must be {expected} for '{model.name}', got {shape[0]}")
    # The rank first: a shape may have any number of dimensions, and multiplying them out takes time.
    fits = spec.accepts(shape[1:] if max_batch_size else shape)
    if not fits or (0 in shape and math.prod(size for size in shape if size) > _MOST_BESIDE_EMPTY):
        expected_shape = (-1, *spec.shape) if max_batch_size else spec.shape
        note = (
            "NOTE: the first dimension is the batch" if max_batch_size else "NOTE: the model has no batch dimension"
        )
        raise InvalidInput(
            f"unexpected shape for input '{spec.name}' for model '{model.name}'. "
            f"Expected {format_shape(expected_shape)}, got {format_shape(shape)}. {note}"
        )


def _check_complete(inputs: Mapping[str, PlannedInput], model: LoadedModel) -> None:
    required, known = model.served.required_inputs, model.served.inputs
    missing = [name for name in required if name not in inputs]
    if not missing:
        return
    expected = (
        f"expected {len(known)} inputs"
        if len(required) == len(known)
        else f"expected number of inputs between {len(required)} and {len(known)}"
    )
    raise InvalidInput(
        f"{expected} but got {len(inputs)} inputs for model '{model.name}'. Got input(s) "
        f"[{_quoted(tuple(inputs))}], but missing required input(s) [{_quoted(missing)}]. "
        "Please provide all required input(s)."
    )


def _quoted(names: Sequence[str]) -> str:
    return ",".join(f"'{name}'" for name in names)


def _batch(
    inputs: Mapping[str, PlannedInput], model: LoadedModel
) -> tuple[int, tuple[tuple[str, tuple[int, ...]], ...]]:
    """Return the rows of a request and what it must share with others to be joined with them."""
    if not model.served.max_batch_size or not inputs:
        return 1, ()
    first, *others = inputs.values()
    for planned in others:
        if planned.shape[0] != first.shape[0]:
            raise InvalidInput(
                f"input '{planned.spec.name}' batch size does not match other inputs for '{model.name}': "
                f"expected {first.shape[0]}, got {planned.shape[0]}"
            )
    return first.shape[0], tuple(sorted((name, planned.shape[1:]) for name, planned in inputs.items()))


def _plan_outputs(message: ModelInferRequest, model: LoadedModel) -> tuple[tuple[str, ...], dict[str, int]]:
    if not message.outputs:
        return tuple(model.served.outputs), {}
    names: list[str] = []
    classes: dict[str, int] = {}
    for output in message.outputs:
        spec = model.served.outputs.get(output.name)
        if spec is None:
            raise InvalidInput(
                f"unexpected inference output '{output.name}' for model '{model.name}', "
                f"expected {', '.join(repr(name) for name in model.served.outputs)}"
            )
        if output.name in names:
            raise InvalidInput(f"output '{output.name}' already exists in request for model '{model.name}'")
        names.append(output.name)
        if output.parameters and (count := _class_count(output, spec)):
            classes[output.name] = count
    return tuple(names), classes


def _class_count(output: ModelInferRequest.InferRequestedOutputTensor, spec: TensorSpec) -> int:
    """Read the parameters of one output; return how many classes it asks for, 0 for the plain tensor."""
    count = _classification(output.name, output.parameters) if "classification" in output.parameters else 0
    if _REGION in output.parameters:
        if count:
            raise InvalidInput("output can't set both 'shared_memory_region' and 'classification'")
        raise _unknown_region(output.parameters[_REGION].string_param)
    if count and spec.datatype in _NO_CLASSES:
        raise InvalidInput(
            f"class result not available for output due to unsupported type '{spec.datatype.wire_name}' "
            f"of output '{output.name}'"
        )
    return count


def _classification(name: str, parameters: Mapping[str, Any]) -> int:
    parameter = parameters["classification"]
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise InvalidInput(
            f"invalid value type for 'classification' parameter, expected int64_param (output '{name}')"
        )
    count: int = parameter.int64_param
    if count <= 0:
        raise InvalidInput(
            f"invalid value for 'classification' parameter, expected >= 0 (1 or more to have an effect), "
            f"got {count} for output '{name}'"
        )
    return count


def _unknown_region(region: str) -> NotFound:
    return NotFound(f"Unable to find shared memory region: '{region}'", hint="this server offers no shared memory")
