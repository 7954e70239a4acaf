"""All 14 datatypes go through ONNX Runtime and through NumPy unchanged, raw and as typed contents."""

import struct

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.rpc.packages import DATATYPES
from tests.rpc.wire import infer, refusal, request, tensor

NUMPY = {
    "BOOL": np.dtype(bool),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
}
STRINGS = (b"", b"\0", b"a\0b\0", "grüße ☃ 漢字".encode(), b"x" * 70_000, b"\n", b" ", b"plain")
CONTENTS = {
    "BOOL": ("bool_contents", [True, False, True, True]),
    "INT8": ("int_contents", [-128, -1, 0, 127]),
    "INT16": ("int_contents", [-32768, -1, 0, 32767]),
    "INT32": ("int_contents", [-(2**31), -1, 0, 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), -1, 0, 2**63 - 1]),
    "UINT8": ("uint_contents", [0, 1, 128, 255]),
    "UINT16": ("uint_contents", [0, 1, 32768, 65535]),
    "UINT32": ("uint_contents", [0, 1, 2**31, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 1, 2**63, 2**64 - 1]),
    "FP32": ("fp32_contents", [0.0, -1.5, float("inf"), 1e-45]),
    "FP64": ("fp64_contents", [0.0, -1.5, float("-inf"), 5e-324]),
}
KINDS = ("identity", "keeps")


@pytest.fixture(scope="module")
def client(daemon):
    with triton.InferenceServerClient(daemon.address) as client:
        yield client


def byte_strings(*elements):
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def any_bits(datatype, shape):
    """All kinds of values, NaN and infinities among them."""
    count = int(np.prod(shape))
    if datatype == "BOOL":
        return (np.arange(count) % 3 == 0).reshape(shape)
    size = NUMPY[datatype].itemsize
    return np.random.default_rng(count).integers(0, 256, count * size, np.uint8).view(NUMPY[datatype]).reshape(shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 3, 8])
@pytest.mark.parametrize("datatype", NUMPY)
def test_every_number_comes_back_bit_by_bit(client, kind, rows, datatype):
    array = any_bits(datatype, (rows, 4))

    model = f"{kind}_{datatype.lower()}"
    result = client.infer(model, [triton.InferInput("INPUT0", array.shape, datatype).set_data_from_numpy(array)])

    found = result.as_numpy("OUTPUT0")
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert result.get_output("OUTPUT0").datatype == datatype


@pytest.mark.parametrize("size", [0, 1, 1023])
@pytest.mark.parametrize("datatype", NUMPY)
def test_models_without_a_batch_dimension_take_any_size(client, size, datatype):
    array = any_bits(datatype, (size,))

    tensors = [triton.InferInput("INPUT0", array.shape, datatype).set_data_from_numpy(array)]
    found = client.infer(f"flat_{datatype.lower()}", tensors).as_numpy("OUTPUT0")

    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_strings_come_back_byte_by_byte(client, kind):
    array = np.array(STRINGS, object).reshape(2, 4)

    tensors = [triton.InferInput("INPUT0", array.shape, "BYTES").set_data_from_numpy(array)]
    found = client.infer(f"{kind}_bytes", tensors).as_numpy("OUTPUT0")

    assert found.tolist() == array.tolist()


def test_no_string_at_all_comes_back(channel):
    answer = infer(channel, request("flat_bytes", [tensor(datatype="BYTES", shape=(0,))], [b""]))

    assert list(answer.outputs[0].shape) == [0]
    assert list(answer.raw_output_contents) == [b""]


def test_bytes_that_are_no_text_pass_the_reference_backend_only(channel):
    data = byte_strings(b"\xff\xfe", b"\x80", b"", b"\xed\xa0\x80")

    kept = infer(channel, request("keeps_bytes", [tensor(datatype="BYTES")], [data]))
    code, details = refusal(
        channel, "ModelInfer", request("identity_bytes", [tensor(datatype="BYTES")], [data]).SerializeToString()
    )

    assert list(kept.raw_output_contents) == [data]
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "'INPUT0'" in details
    assert "UTF-8" in details


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("datatype", CONTENTS)
def test_typed_contents_are_answered_raw(channel, kind, datatype):
    field, values = CONTENTS[datatype]

    answer = infer(
        channel, request(f"{kind}_{datatype.lower()}", [tensor(datatype=datatype, contents={field: values})], [])
    )

    assert list(answer.raw_output_contents) == [np.array(values, NUMPY[datatype]).tobytes()]
    assert not answer.outputs[0].HasField("contents")


def test_typed_strings_are_answered_raw(channel):
    values = [b"", b"a\0b", "grüße".encode(), b"x" * 5000]

    answer = infer(
        channel, request("identity_bytes", [tensor(datatype="BYTES", contents={"bytes_contents": values})], [])
    )

    assert list(answer.raw_output_contents) == [byte_strings(*values)]


@pytest.mark.parametrize(
    ("datatype", "field", "sent", "kept"),
    [
        ("INT8", "int_contents", [128, -129, 256, -1], [-128, 127, 0, -1]),
        ("INT16", "int_contents", [32768, -32769, 65536, -1], [-32768, 32767, 0, -1]),
        ("UINT8", "uint_contents", [256, 257, 511, 2**32 - 1], [0, 1, 255, 255]),
        ("UINT16", "uint_contents", [65536, 65537, 131071, 2**32 - 1], [0, 1, 65535, 65535]),
    ],
)
def test_narrow_integers_keep_their_low_bytes(channel, datatype, field, sent, kept):
    answer = infer(
        channel, request(f"keeps_{datatype.lower()}", [tensor(datatype=datatype, contents={field: sent})], [])
    )

    assert np.frombuffer(answer.raw_output_contents[0], NUMPY[datatype]).tolist() == kept


def test_surplus_raw_entries_are_ignored(channel):
    four = np.arange(4, dtype=np.float32).tobytes()

    answer = infer(channel, request("identity_fp32", None, [four, b"more", b""]))

    assert list(answer.raw_output_contents) == [four]


def test_every_datatype_of_the_protocol_was_covered():
    assert set(DATATYPES) == {*NUMPY, "BYTES"}
