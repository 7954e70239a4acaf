"""Wire <-> serving: a ModelInfer request becomes an InferenceRequest, arrays become a response.

Input arrays are views of the received bytes wherever the datatype allows it. Every rule about a request's tensors is
checked here, before anything is queued; messages contain the sentences that Triton's clients look for.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from appliance.backends.base import Array
from appliance.errors import InvalidInput, NotFound
from appliance.model.datatype import Datatype
from appliance.model.tensor import TensorSpec, decode_bytes, encode_bytes, format_shape
from appliance.rpc.classification import classify
from appliance.rpc.parameters import check_request_parameters
from appliance.rpc.pb.grpc_service_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse
from appliance.rpc.raw_message import raw_output_parts
from appliance.serving.loaded_model import LoadedModel
from appliance.serving.request import InferenceRequest

_CONTENTS_FIELDS = tuple(dict.fromkeys(datatype.contents_field for datatype in Datatype if datatype.contents_field))
_REGION = "shared_memory_region"

Raw = Sequence["bytes | memoryview[Any]"]


def decode_request(message: ModelInferRequest, raw: Raw, model: LoadedModel, received_ns: int) -> InferenceRequest:
    """Check a request against the model and build what serving needs. Raises InvalidInput or NotFound."""
    priority, timeout_us = check_request_parameters(message.parameters) if message.parameters else (0, 0)
    inputs: dict[str, Array] = {}
    used = 0  # entries of raw_input_contents; only inputs without other data consume one
    for tensor in message.inputs:
        spec = _input_spec(tensor, inputs, model)
        shape = tuple(tensor.shape)
        _check_shape(spec, shape, model)
        has_contents = tensor.HasField("contents")
        if tensor.parameters:
            _check_input_parameters(tensor, has_contents=has_contents, model=model)
        if has_contents and not raw:
            inputs[spec.name] = _from_contents(tensor.contents, spec, shape, model)
            continue
        if has_contents:
            raise InvalidInput(
                f"contents field must not be specified when using raw_input_contents for '{spec.name}' "
                f"for model '{model.name}'"
            )
        if used >= len(raw):
            raise InvalidInput(
                f"unable to find data for input tensor '{spec.name}' for model '{model.name}' in request."
            )
        inputs[spec.name] = _from_raw(raw[used], spec, shape, model)
        used += 1
    _check_complete(inputs, model)
    rows, batch_key = _batch(inputs, model)
    return InferenceRequest(
        inputs, _requested_outputs(message, model), rows, batch_key, priority, timeout_us, received_ns=received_ns
    )


def encode_response(
    message: ModelInferRequest, model: LoadedModel, names: Sequence[str], arrays: Sequence[Array]
) -> list["bytes | memoryview[Any]"]:
    """Build the response as parts; array data are views."""
    response = response_header(message, model)
    contents: list[bytes | memoryview[Any]] = []
    wanted = {output.name: output.parameters for output in message.outputs if output.parameters}
    for name, array in zip(names, arrays, strict=True):
        spec = model.served.outputs[name]
        if name in wanted and (count := _classification_count(name, wanted[name])):
            array = classify(array, spec, count, batched=model.served.max_batch_size > 0)  # noqa: PLW2901
            response.outputs.add(name=name, datatype=Datatype.BYTES.wire_name, shape=array.shape)
            contents.append(encode_bytes(array))
            continue
        response.outputs.add(name=name, datatype=spec.datatype.wire_name, shape=array.shape)
        contents.append(_raw_bytes(array, spec))
    return raw_output_parts(response.SerializeToString(), contents)


def response_header(message: ModelInferRequest, model: LoadedModel) -> ModelInferResponse:
    """Name the model and version that answered, and echo the id."""
    return ModelInferResponse(model_name=model.name, model_version=model.version_text, id=message.id)


def _input_spec(
    tensor: ModelInferRequest.InferInputTensor, inputs: Mapping[str, Array], model: LoadedModel
) -> TensorSpec:
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
    return spec


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
        found = "at least 1" if shape[0] < 1 else f"<= {max_batch_size}"
        raise InvalidInput(f"inference request batch-size must be {found} for '{model.name}', got {shape[0]}")
    if not spec.accepts(shape[1:] if max_batch_size else shape):
        expected = (-1, *spec.shape) if max_batch_size else spec.shape
        note = (
            "NOTE: the first dimension is the batch" if max_batch_size else "NOTE: the model has no batch dimension"
        )
        raise InvalidInput(
            f"unexpected shape for input '{spec.name}' for model '{model.name}'. Expected {format_shape(expected)}, "
            f"got {format_shape(shape)}. {note}"
        )


def _check_input_parameters(
    tensor: ModelInferRequest.InferInputTensor, *, has_contents: bool, model: LoadedModel
) -> None:
    parameters = tensor.parameters
    if _REGION not in parameters:
        return
    if has_contents:
        raise InvalidInput(
            f"unexpected 'content' provided when using shared memory for input tensor '{tensor.name}' "
            f"for model '{model.name}'"
        )
    raise _unknown_region(parameters[_REGION].string_param)


def _unknown_region(region: str) -> NotFound:
    return NotFound(f"Unable to find shared memory region: '{region}'", hint="this server offers no shared memory")


def _from_raw(data: "bytes | memoryview[Any]", spec: TensorSpec, shape: tuple[int, ...], model: LoadedModel) -> Array:
    if spec.datatype is Datatype.BYTES:
        where = f"inference input '{spec.name}' for model '{model.name}'"
        return decode_bytes(memoryview(data), math.prod(shape), where).reshape(shape)
    expected = math.prod(shape) * spec.datatype.size_bytes
    if len(data) != expected:
        raise InvalidInput(
            f"input byte size mismatch for input '{spec.name}' for model '{model.name}'. "
            f"Expected {expected}, got {len(data)}"
        )
    return np.frombuffer(data, spec.datatype.numpy).reshape(shape)


def _from_contents(
    contents: InferTensorContents, spec: TensorSpec, shape: tuple[int, ...], model: LoadedModel
) -> Array:
    wanted = spec.datatype.contents_field
    for field in _CONTENTS_FIELDS:
        if field != wanted and len(getattr(contents, field)):
            raise InvalidInput(
                f"unexpected explicit tensor data for input tensor '{spec.name}' for model '{model.name}' of type "
                f"'{field}', expected datatype '{spec.datatype.wire_name}' in {wanted or 'raw_input_contents'}"
            )
    values = getattr(contents, wanted) if wanted else ()
    expected = math.prod(shape)
    if not values and (expected or not wanted):
        raise InvalidInput(f"unable to find data for input tensor '{spec.name}' for model '{model.name}' in request.")
    if len(values) != expected:
        raise InvalidInput(
            f"input element count mismatch for input '{spec.name}' for model '{model.name}'. "
            f"Expected {expected}, got {len(values)}"
        )
    if spec.datatype is Datatype.BYTES:
        array = np.empty(expected, dtype=object)
        array[:] = list(values)
        return array.reshape(shape)
    # OIP: narrow integers travel as int32 / uint32 and are cut to their low bytes.
    wide = np.array(values, dtype=_wide_type(wanted))
    return wide.astype(spec.datatype.numpy).reshape(shape)


def _wide_type(field: str) -> str:
    return {
        "bool_contents": "?",
        "int_contents": "<i4",
        "int64_contents": "<i8",
        "uint_contents": "<u4",
        "uint64_contents": "<u8",
        "fp32_contents": "<f4",
        "fp64_contents": "<f8",
    }[field]


def _check_complete(inputs: Mapping[str, Array], model: LoadedModel) -> None:
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
        f"[{_quoted(inputs)}], but missing required input(s) [{_quoted(missing)}]. "
        "Please provide all required input(s)."
    )


def _quoted(names: "Mapping[str, Array] | Sequence[str]") -> str:
    return ",".join(f"'{name}'" for name in names)


def _batch(inputs: Mapping[str, Array], model: LoadedModel) -> tuple[int, tuple[tuple[str, tuple[int, ...]], ...]]:
    """Return the rows of a request and what it must share with others to be joined with them."""
    if not model.served.max_batch_size:
        return 1, ()
    sizes = {array.shape[0] for array in inputs.values()}
    if len(sizes) > 1:
        first = next(iter(inputs.values())).shape[0]
        name = next(name for name, array in inputs.items() if array.shape[0] != first)
        raise InvalidInput(
            f"input '{name}' batch size does not match other inputs for '{model.name}': "
            f"expected {first}, got {inputs[name].shape[0]}"
        )
    return sizes.pop() if sizes else 1, tuple(sorted((name, array.shape[1:]) for name, array in inputs.items()))


def _requested_outputs(message: ModelInferRequest, model: LoadedModel) -> tuple[str, ...]:
    if not message.outputs:
        return tuple(model.served.outputs)
    names: list[str] = []
    for output in message.outputs:
        spec = model.served.outputs.get(output.name)
        if spec is None:
            raise InvalidInput(
                f"unexpected inference output '{output.name}' for model '{model.name}', "
                f"expected {', '.join(repr(name) for name in model.served.outputs)}"
            )
        if output.name in names:
            raise InvalidInput(f"output '{output.name}' already exists in request for model '{model.name}'")
        if output.parameters:
            _check_output_parameters(output, spec)
        names.append(output.name)
    return tuple(names)


def _check_output_parameters(output: ModelInferRequest.InferRequestedOutputTensor, spec: TensorSpec) -> None:
    count = _classification_count(output.name, output.parameters)
    if _REGION in output.parameters:
        if count:
            raise InvalidInput("output can't set both 'shared_memory_region' and 'classification'")
        raise _unknown_region(output.parameters[_REGION].string_param)
    if count and spec.datatype in (Datatype.BYTES, Datatype.BOOL, Datatype.FP16, Datatype.BF16):
        raise InvalidInput(
            f"class result not available for output due to unsupported type '{spec.datatype.wire_name}' "
            f"of output '{output.name}'"
        )


def _classification_count(name: str, parameters: Mapping[str, Any]) -> int:
    if "classification" not in parameters:
        return 0
    parameter = parameters["classification"]
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise InvalidInput(
            f"invalid value type for 'classification' parameter, expected int64_param (output '{name}')"
        )
    if parameter.int64_param <= 0:
        raise InvalidInput(
            f"invalid value for 'classification' parameter, expected >= 0 (1 or more to have any effect), "
            f"got {parameter.int64_param} for output '{name}'"
        )
    count: int = parameter.int64_param
    return count


def _raw_bytes(array: Array, spec: TensorSpec) -> "bytes | memoryview[Any]":
    if spec.datatype is Datatype.BYTES:
        return encode_bytes(array)
    return array.reshape(-1).view(np.uint8).data


def now_ns() -> int:
    """The clock of all statistics."""
    return time.monotonic_ns()
