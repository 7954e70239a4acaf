"""Wire <-> serving: tensor data of a planned request become arrays, arrays become a response.

Input arrays are views of the received bytes wherever the datatype allows it; outputs are written from views. Messages
contain the sentences that Triton's clients look for.
"""

import math
import time
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from appliance.backends.base import Array
from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.tensor import decode_bytes, encode_bytes, object_array
from appliance.rpc.call import Parts
from appliance.rpc.classification import classify
from appliance.rpc.pb.grpc_service_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse
from appliance.rpc.raw_message import Raw, length_delimited, raw_output_prefix
from appliance.rpc.request_plan import PlannedInput, RequestPlan, ResponseFrame

_ID_FIELD = 3  # of ModelInferResponse
_REMEMBERED_SHAPES = 16  # response frames kept for each plan; they differ by output shapes only
# OIP: narrow integers travel as int32 / uint32 and are cut to their low bytes.
_WIDE_TYPES = MappingProxyType(
    {
        "bool_contents": "?",
        "int_contents": "<i4",
        "int64_contents": "<i8",
        "uint_contents": "<u4",
        "uint64_contents": "<u8",
        "fp32_contents": "<f4",
        "fp64_contents": "<f8",
    }
)
_CONTENTS_FIELDS = (*_WIDE_TYPES, "bytes_contents")


def bind_raw(plan: RequestPlan, raw: Raw) -> dict[str, Array]:
    """Take the inputs' data from raw_input_contents, in order; surplus entries are ignored. Raises InvalidInput."""
    if len(raw) < len(plan.inputs):
        raise _no_data(plan.inputs[len(raw)], plan)
    return {
        planned.spec.name: _from_raw(data, planned, plan) for planned, data in zip(plan.inputs, raw, strict=False)
    }


def bind_message(plan: RequestPlan, message: ModelInferRequest, raw: Raw) -> dict[str, Array]:
    """Take the inputs' data from wherever the message has them: typed contents, or raw. Raises InvalidInput."""
    typed = [tensor.name for tensor in message.inputs if tensor.HasField("contents")]
    if not typed:
        return bind_raw(plan, raw)
    if raw:
        raise InvalidInput(
            f"contents field must not be specified when using raw_input_contents for '{typed[0]}' "
            f"for model '{plan.model.name}'"
        )
    return {
        planned.spec.name: _from_contents(tensor.contents, planned, plan)
        for planned, tensor in zip(plan.inputs, message.inputs, strict=True)
    }


def encode_response(plan: RequestPlan, request_id: str, arrays: Sequence[Array]) -> Parts:
    """Build the response to a planned request as parts; the arrays themselves are parts."""
    if plan.classes or plan.has_bytes_output:
        return _encode_slowly(plan, request_id, arrays)
    shapes = tuple([array.shape for array in arrays])
    remembered = plan.response_frames.get(shapes) or _frame(plan, shapes, arrays)
    header, prefixes = remembered
    if len(arrays) == 1:
        return (header, _id_field(request_id), prefixes[0], arrays[0])
    parts: list[bytes | Array] = [header, _id_field(request_id)]
    for prefix, array in zip(prefixes, arrays, strict=True):
        parts += (prefix, array)
    return parts


def now_ns() -> int:
    """The clock of all statistics."""
    return time.monotonic_ns()


def _from_raw(data: "bytes | memoryview[Any]", planned: PlannedInput, plan: RequestPlan) -> Array:
    spec = planned.spec
    if spec.datatype is Datatype.BYTES:
        where = f"inference input '{spec.name}' for model '{plan.model.name}'"
        return decode_bytes(memoryview(data), math.prod(planned.shape), where).reshape(planned.shape)
    if len(data) != planned.size_bytes:
        raise InvalidInput(
            f"input byte size mismatch for input '{spec.name}' for model '{plan.model.name}'. "
            f"Expected {planned.size_bytes}, got {len(data)}"
        )
    return np.frombuffer(data, spec.datatype.numpy).reshape(planned.shape)


def _from_contents(contents: InferTensorContents, planned: PlannedInput, plan: RequestPlan) -> Array:
    spec = planned.spec
    wanted = spec.datatype.contents_field
    for field in _CONTENTS_FIELDS:
        if field != wanted and len(getattr(contents, field)):
            raise InvalidInput(
                f"unexpected explicit tensor data for input tensor '{spec.name}' for model '{plan.model.name}' of "
                f"type '{field}', expected datatype '{spec.datatype.wire_name}' in {wanted or 'raw_input_contents'}"
            )
    values = getattr(contents, wanted) if wanted else ()
    expected = math.prod(planned.shape)
    if not wanted or (expected and not values):
        raise _no_data(planned, plan)
    if len(values) != expected:
        raise InvalidInput(
            f"input element count mismatch for input '{spec.name}' for model '{plan.model.name}'. "
            f"Expected {expected}, got {len(values)}"
        )
    if spec.datatype is Datatype.BYTES:
        return object_array(list(values)).reshape(planned.shape)
    wide = np.array(values, dtype=_WIDE_TYPES[wanted])
    return wide.astype(spec.datatype.numpy).reshape(planned.shape)


def _no_data(planned: PlannedInput, plan: RequestPlan) -> InvalidInput:
    return InvalidInput(
        f"unable to find data for input tensor '{planned.spec.name}' for model '{plan.model.name}' in request."
    )


def _encode_slowly(plan: RequestPlan, request_id: str, arrays: Sequence[Array]) -> Parts:
    """Outputs whose size is known only once they are written: BYTES, and classes."""
    response = _response(plan)
    contents: list[bytes | Array] = []
    for name, array in zip(plan.outputs, arrays, strict=True):
        spec = plan.model.served.outputs[name]
        if name in plan.classes:
            texts = classify(array, spec, plan.classes[name], batched=plan.model.served.max_batch_size > 0)
            response.outputs.add(name=name, datatype=Datatype.BYTES.wire_name, shape=texts.shape)
            contents.append(encode_bytes(texts))
        else:
            response.outputs.add(name=name, datatype=spec.datatype.wire_name, shape=array.shape)
            contents.append(encode_bytes(array) if spec.datatype is Datatype.BYTES else array)
    parts: list[bytes | Array] = [response.SerializeToString(), _id_field(request_id)]
    for content in contents:
        size = len(content) if isinstance(content, bytes) else content.nbytes
        parts += (raw_output_prefix(size), content)
    return parts


def _frame(plan: RequestPlan, shapes: tuple[tuple[int, ...], ...], arrays: Sequence[Array]) -> ResponseFrame:
    """All of a response but id and data: it is the same for every answer of these shapes."""
    response = _response(plan)
    for name, shape in zip(plan.outputs, shapes, strict=True):
        response.outputs.add(name=name, datatype=plan.model.served.outputs[name].datatype.wire_name, shape=shape)
    frame = (response.SerializeToString(), tuple(raw_output_prefix(array.nbytes) for array in arrays))
    if len(plan.response_frames) < _REMEMBERED_SHAPES:
        plan.response_frames[shapes] = frame
    return frame


def _response(plan: RequestPlan) -> ModelInferResponse:
    return ModelInferResponse(model_name=plan.model.name, model_version=plan.model.version_text)


def _id_field(request_id: str) -> bytes:
    """Field `id` of a response as it stands on the wire; the order of fields in a message is free."""
    if not request_id:
        return b""
    text = request_id.encode()
    return length_delimited(_ID_FIELD, len(text)) + text
