"""Our own walk over the bytes of a request finds what protobuf finds, whatever the bytes are; so do our responses."""

from types import SimpleNamespace

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from appliance.errors import InvalidInput
from appliance.model.datatype import Datatype
from appliance.model.tensor import TensorSpec, encode_bytes, object_array
from appliance.rpc.codec import encode_response
from appliance.rpc.pb.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from appliance.rpc.raw_message import MOST_INNER_FIELDS, SMALL_BYTES, cut, open_envelope
from appliance.rpc.request_plan import RequestPlan

EXAMPLES = settings(max_examples=200, deadline=None)
VARINT, FIXED64, LENGTH, GROUP, END_GROUP, FIXED32 = range(6)
FIELD_ID, FIELD_RAW = 3, 7

Tensor = ModelInferRequest.InferInputTensor


def varint(value, padding=0):
    """As the wire has it; `padding` bytes more than needed, which is allowed."""
    out = bytearray()
    while value >= 0x80 or padding:
        padding -= value < 0x80
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def field(number, kind, payload, padding=(0, 0)):
    tag = varint(number << 3 | kind, padding[0])
    return tag + (varint(len(payload), padding[1]) if kind == LENGTH else b"") + payload


short_text = st.text(max_size=12)
numbers = st.integers(0, 2**64 - 1)
paddings = st.sampled_from([(0, 0)] * 12 + [(1, 0), (0, 1), (0, 3), (3, 3), (4, 0)])
payloads = st.one_of(st.binary(max_size=40), st.sampled_from([b"", bytes(SMALL_BYTES), bytes(SMALL_BYTES + 1)]))
parameters = st.dictionaries(
    short_text, st.builds(lambda value: {"int64_param": value}, st.integers(-9, 9)), max_size=2
)
inputs = st.builds(
    Tensor,
    name=short_text,
    datatype=st.sampled_from(["FP32", "BYTES", ""]),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    contents=st.one_of(st.none(), st.builds(lambda values: {"fp32_contents": values}, st.just([1.0, 2.0]))),
)
known = st.one_of(
    st.builds(lambda text: field(1, LENGTH, text.encode()), short_text),
    st.builds(lambda text: field(2, LENGTH, text.encode()), short_text),
    st.builds(lambda value: ModelInferRequest(parameters=value).SerializeToString(), parameters),
    st.builds(lambda value: ModelInferRequest(inputs=[value]).SerializeToString(), inputs),
    st.builds(lambda text: ModelInferRequest(outputs=[{"name": text}]).SerializeToString(), short_text),
    st.builds(lambda text, padding: field(FIELD_ID, LENGTH, text.encode(), padding), short_text, paddings),
    st.builds(lambda data, padding: field(FIELD_RAW, LENGTH, data, padding), payloads, paddings),
    st.builds(lambda data, padding: field(FIELD_RAW, LENGTH, data, padding), payloads, paddings),
)
unknown_numbers = st.sampled_from([8, 15, 16, 100, 2**20, 2**29 - 1])
unknown = st.one_of(
    st.builds(lambda number, value: field(number, VARINT, varint(value)), unknown_numbers, numbers),
    st.builds(lambda number, data: field(number, LENGTH, data), unknown_numbers, payloads),
    st.builds(lambda number: field(number, FIXED64, bytes(8)), unknown_numbers),
    st.builds(lambda number: field(number, FIXED32, bytes(4)), unknown_numbers),
    st.builds(lambda number: field(number, GROUP, b"") + field(number, END_GROUP, b""), unknown_numbers),
)
odd = st.one_of(
    st.builds(lambda data: field(FIELD_ID, LENGTH, data), st.binary(max_size=4)),  # most are no text
    st.builds(lambda value: field(FIELD_RAW, VARINT, varint(value)), numbers),
    st.builds(lambda data: field(0, LENGTH, data), st.binary(max_size=4)),
    st.builds(lambda size: varint(FIELD_RAW << 3 | LENGTH) + varint(size), numbers),
)
messages = st.lists(known, max_size=8).map(b"".join)
extended = st.lists(st.one_of(known, known, unknown), max_size=8).map(b"".join)
hostile = st.lists(st.one_of(known, known, unknown, odd), max_size=6).map(b"".join)


def agrees_with_protobuf(data):
    try:
        expected = ModelInferRequest.FromString(data)
    except DecodeError:
        with pytest.raises(InvalidInput):
            open_envelope(data)
        return False
    message, raw = open_envelope(data)
    whole = ModelInferRequest()
    whole.CopyFrom(message)
    del whole.raw_input_contents[:]
    whole.raw_input_contents.extend(bytes(entry) for entry in raw)
    assert whole == expected
    return True


@EXAMPLES
@given(messages)
def test_fields_in_any_order_and_number_are_found(data):
    assert agrees_with_protobuf(data)


@EXAMPLES
@given(extended)
def test_unknown_fields_change_nothing(data):
    assert agrees_with_protobuf(data)


@EXAMPLES
@given(hostile)
@example(field(FIELD_ID, LENGTH, b"\xff") + field(FIELD_ID, LENGTH, b"text"))
@example(field(FIELD_ID, LENGTH, b"\xed\xa0\x80"))
@example(field(FIELD_ID, LENGTH, b"text", (0, 9)))
@example(field(FIELD_RAW, LENGTH, b"data", (0, 4)))
@example(field(FIELD_RAW, LENGTH, b"data", (0, 5)))
@example(field(FIELD_RAW, LENGTH, b"data", (4, 0)))
@example(field(FIELD_RAW, LENGTH, b"data", (5, 0)))
@example(varint(FIELD_RAW << 3 | LENGTH) + varint(2**64 - 1))
@example(varint(FIELD_RAW << 3 | LENGTH) + b"\xff" * 11)
@example(field(0, LENGTH, b""))
def test_what_protobuf_refuses_is_refused(data):
    agrees_with_protobuf(data)


@EXAMPLES
@given(st.binary(max_size=200))
def test_random_bytes_are_what_protobuf_says_they_are(data):
    agrees_with_protobuf(data)


@EXAMPLES
@given(messages, st.data())
def test_a_cut_or_flipped_message_is_what_protobuf_says_it_is(data, choice):
    end = choice.draw(st.integers(0, len(data)))
    agrees_with_protobuf(data[:end])
    if data:
        position, bit = choice.draw(st.integers(0, len(data) - 1)), choice.draw(st.integers(0, 7))
        agrees_with_protobuf(data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :])


@EXAMPLES
@given(st.one_of(st.binary(max_size=200), hostile))
def test_cutting_never_fails(data):
    envelope = cut(data)

    assert envelope is None or isinstance(envelope.header, bytes)


@EXAMPLES
@given(messages)
def test_the_header_is_the_same_for_every_id_and_tensor_data_of_the_same_form(data):
    """It is the key under which plans are remembered."""
    envelope = cut(data)
    if envelope is not None:
        again = cut(envelope.header + field(FIELD_ID, LENGTH, b"another") + field(FIELD_RAW, LENGTH, b"other data"))
        assert again.header == envelope.header
        assert not ModelInferRequest.FromString(envelope.header).raw_input_contents


def test_small_tensors_are_copied_and_large_ones_are_views():
    envelope = cut(field(FIELD_RAW, LENGTH, bytes(SMALL_BYTES)) + field(FIELD_RAW, LENGTH, bytes(SMALL_BYTES + 1)))

    assert [type(entry) for entry in envelope.raw] == [bytes, memoryview]


@pytest.mark.parametrize("before", [b"", field(FIELD_ID, LENGTH, b"text", (0, 9)), field(100, VARINT, b"\0")])
def test_inputs_and_outputs_may_have_so_many_fields_together_and_not_one_more(before):
    def of(inputs, outputs):
        tensors = [bytes(inputs), bytes(outputs)]
        return before + b"".join(field(number, LENGTH, inner) for number, inner in zip((5, 6), tensors, strict=True))

    shape, parameter = field(3, VARINT, varint(1)), field(4, LENGTH, b"")
    most = MOST_INNER_FIELDS // 2
    message, _ = open_envelope(of(shape * most, field(2, LENGTH, b"") * most))

    assert len(message.inputs[0].shape) == most
    for inputs, outputs in [(most + 1, most), (most, most + 1), (MOST_INNER_FIELDS + 1, 0)]:
        with pytest.raises(InvalidInput, match=f"more than {MOST_INNER_FIELDS} fields"):
            open_envelope(of(parameter * inputs, field(2, LENGTH, b"") * outputs))


@pytest.mark.parametrize("before", [b"", field(100, VARINT, b"\0")])
def test_the_elements_of_a_tensor_are_not_fields_of_its_input(before):
    elements = MOST_INNER_FIELDS + 1
    contents = {"bytes_contents": [b"x"] * elements}
    data = ModelInferRequest(inputs=[{"name": "a", "contents": contents}]).SerializeToString()

    message, _ = open_envelope(before + data)

    assert len(message.inputs[0].contents.bytes_contents) == elements


@st.composite
def outputs(draw):
    """(spec, array), of any datatype and of at most three small dimensions."""
    datatype = draw(st.sampled_from(Datatype))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    count = int(np.prod(shape))
    if datatype is Datatype.BYTES:
        array = object_array(draw(st.lists(st.binary(max_size=8), min_size=count, max_size=count))).reshape(shape)
    else:
        size = count * datatype.size_bytes
        data = draw(st.binary(min_size=size, max_size=size))
        array = np.frombuffer(data, np.uint8 if datatype is Datatype.BOOL else datatype.numpy).reshape(shape)
        array = array % 2 == 1 if datatype is Datatype.BOOL else array
    return datatype, array


@EXAMPLES
@given(st.lists(outputs(), min_size=1, max_size=4), short_text, st.text(min_size=1, max_size=12))
def test_a_response_is_what_protobuf_would_have_written(found, request_id, model_name):
    specs = {
        f"O{index}": TensorSpec(f"O{index}", datatype, array.shape) for index, (datatype, array) in enumerate(found)
    }
    served = SimpleNamespace(outputs=specs, max_batch_size=0)
    model = SimpleNamespace(name=model_name, version_text="3", served=served)
    has_bytes = any(datatype is Datatype.BYTES for datatype, _ in found)
    plan = RequestPlan(model, (), tuple(specs), {}, 1, (), 0, 0, has_bytes)
    expected = ModelInferResponse(model_name=model_name, model_version="3", id=request_id)
    for name, (datatype, array) in zip(specs, found, strict=True):
        expected.outputs.add(name=name, datatype=datatype.wire_name, shape=array.shape)
        expected.raw_output_contents.append(encode_bytes(array) if datatype is Datatype.BYTES else array.tobytes())

    for _ in range(2):  # the second one is answered from what the first one left
        parts = encode_response(plan, request_id, [array for _, array in found])
        assert ModelInferResponse.FromString(b"".join(parts)) == expected
