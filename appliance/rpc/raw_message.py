"""Large tensors around protobuf: requests are cut into a header and views, responses joined from header and views.

Protobuf copies every bytes field at least once when it parses and once more when it serialises. For a ModelInfer of
hundreds of kilobytes that is most of the work, so field 7 of the request (`raw_input_contents`) is located by walking
the top-level fields, and only what remains is parsed. The result is the same as protobuf's for every input; anything
unusual is left to protobuf.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from appliance.errors import InvalidInput
from appliance.rpc.pb.grpc_service_pb2 import ModelInferRequest

SMALL_MESSAGE_BYTES = 8192  # below this the walk costs more than the copies (measured: scripts/bench)

_LENGTH_DELIMITED = 2
_RAW_INPUT_TAG = 7 << 3 | _LENGTH_DELIMITED
_RAW_OUTPUT_TAG = 6 << 3 | _LENGTH_DELIMITED
_LARGEST_ONE_BYTE = 0x80
_LONGEST_VARINT = 10


def parse_infer_request(data: bytes) -> tuple[ModelInferRequest, Sequence["bytes | memoryview[Any]"]]:
    """Parse a ModelInferRequest; return it without raw_input_contents, and those as views of `data`.

    Raises InvalidInput if `data` is not such a message.
    """
    try:
        if len(data) > SMALL_MESSAGE_BYTES:
            found = _cut_out_raw_inputs(data)
            if found is not None:
                header, raw = found
                return ModelInferRequest.FromString(header), raw
        request = ModelInferRequest.FromString(data)
    except DecodeError as error:
        raise InvalidInput("the request is not a ModelInferRequest: its bytes cannot be parsed") from error
    return request, request.raw_input_contents


def raw_output_parts(header: bytes, contents: Sequence["bytes | memoryview[Any]"]) -> list["bytes | memoryview[Any]"]:
    """Return a ModelInferResponse as parts: the serialised rest, then each entry of raw_output_contents."""
    parts: list[bytes | memoryview[Any]] = [header]
    for content in contents:
        size = content.nbytes if isinstance(content, memoryview) else len(content)
        parts.append(_length_prefix(size))
        parts.append(content)
    return parts


def _length_prefix(size: int) -> bytes:
    prefix = bytearray((_RAW_OUTPUT_TAG,))
    while size >= _LARGEST_ONE_BYTE:
        prefix.append(size & 0x7F | _LARGEST_ONE_BYTE)
        size >>= 7
    prefix.append(size)
    return bytes(prefix)


def _cut_out_raw_inputs(data: bytes) -> tuple[bytes, list["memoryview[Any]"]] | None:
    """Walk the top-level fields; None if one is not length-delimited or does not fit (protobuf then decides)."""
    view = memoryview(data)
    total = len(data)
    header: list[memoryview[Any]] = []
    raw: list[memoryview[Any]] = []
    position = kept_from = 0
    while position < total:
        field_start = position
        tag = data[position]
        if tag & 7 != _LENGTH_DELIMITED or tag >= _LARGEST_ONE_BYTE or tag < 1 << 3:
            return None
        length, position = _read_varint(data, position + 1, total)
        if length < 0 or length > total - position:
            return None
        if tag == _RAW_INPUT_TAG:
            header.append(view[kept_from:field_start])
            raw.append(view[position : position + length])
            kept_from = position + length
        position += length
    header.append(view[kept_from:])
    return b"".join(header), raw


def _read_varint(data: bytes, position: int, total: int) -> tuple[int, int]:
    """Return (value, next position); value -1 if the varint is cut off or too long."""
    value = shift = 0
    for _ in range(_LONGEST_VARINT):
        if position >= total:
            return -1, position
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < _LARGEST_ONE_BYTE:
            return value, position
        shift += 7
    return -1, position
