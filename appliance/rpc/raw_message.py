"""ModelInfer messages around protobuf: requests are cut into header, id and tensor views; responses are joined.

Protobuf copies every bytes field at least once when it parses and once more when it serialises; for hundreds of
kilobytes that is most of the work. And clients send the same header again and again: only the id and the tensors
differ. So the top-level fields of a request are walked here, the tensors stay views of the received bytes, and what
remains is a key under which the outcome of parsing and checking can be remembered.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from appliance.errors import InvalidInput
from appliance.rpc.call import RequestBytes
from appliance.rpc.messages import parse
from appliance.rpc.pb.grpc_service_pb2 import ModelInferRequest

Raw = Sequence["bytes | memoryview[Any]"]

SMALL_BYTES = 4096  # up to here a copy is cheaper than a view
# Of one request at its top level, each entry of a repeated field counted: a MiB of empty ones would hold up everybody
# for a quarter of a second, and become 100 MiB of objects.
MOST_FIELDS = 4096
MOST_INNER_FIELDS = 4 * MOST_FIELDS  # of all its inputs and outputs, at their top level: a parameter is one of theirs

_VARINT, _FIXED64, _LENGTH_DELIMITED, _START_GROUP, _END_GROUP, _FIXED32 = range(6)
_ID_TAG = 3 << 3 | _LENGTH_DELIMITED
_RAW_INPUT_TAG = 7 << 3 | _LENGTH_DELIMITED
_TENSOR_TAGS = (5 << 3 | _LENGTH_DELIMITED, 6 << 3 | _LENGTH_DELIMITED)  # inputs, outputs
_RAW_OUTPUT_FIELD = 6
_SHORTEST_FIELD = 2  # bytes
_LARGEST_ONE_BYTE = 0x80
_LONGEST_TAG = 5  # bytes; protobuf takes no more
_LONGEST_VARINT = 10  # of which protobuf takes the lowest 64 bits
_64_BITS = 2**64 - 1


class Envelope(NamedTuple):
    """A ModelInferRequest cut up: `header` is all of it but `id` and `raw_input_contents`."""

    header: bytes
    request_id: str
    raw: Raw


def cut(data: RequestBytes) -> Envelope | None:
    """Walk the top-level fields; None if there is anything unusual: `parse_whole` then says what it is."""
    header: list[RequestBytes] = []
    raw: list[bytes | memoryview[Any]] = []
    request_id: RequestBytes = b""
    view = memoryview(data)
    total = len(data)
    position = kept_from = fields = 0
    while position < total:
        start = position
        tag = data[position]
        fields += 1
        if tag & 7 != _LENGTH_DELIMITED or tag >= _LARGEST_ONE_BYTE or fields > MOST_FIELDS:
            return None
        if request_id and tag == _ID_TAG:
            return None  # the last one counts, but all of them must be text
        position += 1
        if position < total and (length := data[position]) < _LARGEST_ONE_BYTE:
            position += 1
        else:
            length, position = _read_varint(data, position, total, _LONGEST_TAG)  # more bytes are unusual
        end = position + length
        if length < 0 or end > total:
            return None
        if tag in (_RAW_INPUT_TAG, _ID_TAG):
            if start > kept_from:
                header.append(data[kept_from:start])
            kept_from = end
            if tag == _ID_TAG:
                request_id = data[position:end]
            else:
                raw.append(data[position:end] if length <= SMALL_BYTES else view[position:end])
        position = end
    header.append(data[kept_from:])
    try:
        return Envelope(b"".join(header), str(request_id, "utf-8"), raw)
    except UnicodeDecodeError:
        return None


def open_envelope(data: RequestBytes) -> tuple[ModelInferRequest, Raw]:
    """Parse a request whose tensors stay views where that is possible. Raises InvalidInput."""
    envelope = cut(data)
    if envelope is None:
        message = parse_whole(data)
        return message, message.raw_input_contents
    message = parse_header(envelope.header)
    message.id = envelope.request_id
    return message, envelope.raw


def raw_output_prefix(size: int) -> bytes:
    """What stands before an entry of raw_output_contents of `size` bytes."""
    return length_delimited(_RAW_OUTPUT_FIELD, size)


def length_delimited(field: int, size: int) -> bytes:
    """Tag and length that stand before a bytes or string field of `size` bytes."""
    prefix = bytearray((field << 3 | _LENGTH_DELIMITED,))
    while size >= _LARGEST_ONE_BYTE:
        prefix.append(size & 0x7F | _LARGEST_ONE_BYTE)
        size >>= 7
    prefix.append(size)
    return bytes(prefix)


def parse_whole(data: RequestBytes) -> ModelInferRequest:
    """Let protobuf parse all of a request. Raises InvalidInput, if it has too many fields before it is parsed."""
    if _count_fields(data, 0, len(data), MOST_FIELDS) > MOST_FIELDS:
        raise InvalidInput(
            f"the request has more than {MOST_FIELDS} fields", hint="send several elements in one tensor"
        )
    return parse_header(data)


def parse_header(data: RequestBytes) -> ModelInferRequest:
    """Let protobuf parse what has few fields at its top level. Raises InvalidInput, as `parse_whole` does."""
    if len(data) > _SHORTEST_FIELD * MOST_INNER_FIELDS:
        _require_few_inner_fields(data)
    return parse(ModelInferRequest, data)


def _require_few_inner_fields(data: RequestBytes) -> None:
    """Raise InvalidInput if protobuf would make very many objects of the inputs and outputs."""
    left, position, total = MOST_INNER_FIELDS, 0, len(data)
    while position < total:
        tag, value = _read_varint(data, position, total, _LONGEST_TAG)
        position = _end_of_value(tag & 7, data, value, total) if tag >= 0 else -1
        if position < 0:
            return
        if tag in _TENSOR_TAGS:
            _, start = _read_varint(data, value, total, _LONGEST_VARINT)
            left -= _count_fields(data, start, min(position, total), left)
            if left < 0:
                raise InvalidInput(
                    f"the inputs and outputs of the request have more than {MOST_INNER_FIELDS} fields",
                    hint="send fewer parameters with them",
                )


def _count_fields(data: RequestBytes, position: int, end: int, most: int) -> int:
    """Count fields up to where protobuf would give up, and to one more than `most`."""
    for count in range(most + 1):
        tag, position = _read_varint(data, position, end, _LONGEST_TAG)
        if tag < 0:  # the end, or not even a tag
            return count
        position = _end_of_value(tag & 7, data, position, end)
        if position < 0:
            return count
    return most + 1


def _end_of_value(kind: int, data: RequestBytes, position: int, total: int) -> int:
    """Return where the value of a field ends, -1 if it does not. What stands in a group counts as fields, too."""
    if kind in (_START_GROUP, _END_GROUP):
        return position
    if kind in (_FIXED32, _FIXED64):
        return position + (4 if kind == _FIXED32 else 8)
    if kind not in (_VARINT, _LENGTH_DELIMITED):
        return -1
    value, position = _read_varint(data, position, total, _LONGEST_VARINT)
    if value < 0:
        return -1
    return position if kind == _VARINT else position + (value & _64_BITS)


def _read_varint(data: RequestBytes, position: int, total: int, longest: int) -> tuple[int, int]:
    """Return (value, next position); value -1 if the varint is cut off or too long."""
    value = shift = 0
    for _ in range(longest):
        if position >= total:
            return -1, position
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < _LARGEST_ONE_BYTE:
            return value, position
        shift += 7
    return -1, position
