"""Lines of the error table about models, versions and inputs; test_error_table.py has the others and the tests."""

import struct
from dataclasses import dataclass

import grpc
import numpy as np

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.wire import FOUR, Parameter, request, tensor

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
INTERNAL = grpc.StatusCode.INTERNAL

INT32_ROW = np.arange(16, dtype=np.int32).tobytes()
TWO_INPUTS = [tensor(name, "INT32", (1, 16)) for name in ("INPUT0", "INPUT1")]
REGION = {
    "shared_memory_region": Parameter(string_param="region7"),
    "shared_memory_byte_size": Parameter(int64_param=16),
}


@dataclass(frozen=True)
class Row:
    """One line of the table: a bad ModelInfer request and what its answer must say."""

    name: str
    message: pb.ModelInferRequest
    code: grpc.StatusCode
    words: tuple[str, ...]


def row(name: str, message: pb.ModelInferRequest, *words: str, code: grpc.StatusCode = INVALID) -> Row:
    return Row(name, message, code, words)


def byte_strings(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def bytes_request(data: bytes) -> pb.ModelInferRequest:
    return request("identity_bytes", [tensor(datatype="BYTES")], [data])


def contents_request(datatype: str, model: str, **contents: object) -> pb.ModelInferRequest:
    return request(model, [tensor(datatype=datatype, contents=contents)], [])


MODEL_AND_VERSION = [
    row("unknown model", request("nowhere"), "Request for unknown model: 'nowhere' is not found", code=NOT_FOUND),
    row("empty model name", request(""), "Request for unknown model: '' is not found", code=NOT_FOUND),
    row(
        "unknown version",
        request("identity_fp32", model_version="7"),
        "Request for unknown model: 'identity_fp32' version 7 is not found",
        code=NOT_FOUND,
    ),
    row(
        "version that is not served",
        request("two", model_version="1"),
        *("'two' version 1 is not at ready state", "UNKNOWN"),
        code=UNAVAILABLE,
    ),
    row(
        "version that is no number",
        request("identity_fp32", model_version="v1"),
        *("failed to get model version from specified version string 'v1'", "expected a whole number"),
    ),
]
INPUTS = [
    row(
        "missing input",
        request("add_sub", TWO_INPUTS[:1], [INT32_ROW]),
        "expected 2 inputs but got 1 inputs for model 'add_sub'. Got input(s) ['INPUT0'], "
        "but missing required input(s) ['INPUT1']. Please provide all required input(s).",
    ),
    row(
        "no input at all",
        request("add_sub", [], []),
        "expected 2 inputs but got 0 inputs for model 'add_sub'. Got input(s) [], "
        "but missing required input(s) ['INPUT0','INPUT1']. Please provide all required input(s).",
    ),
    row(
        "missing input beside an optional one",
        request("optional", [tensor("INPUT1")]),
        "expected number of inputs between 1 and 2 but got 1 inputs for model 'optional'. Got input(s) ['INPUT1'], "
        "but missing required input(s) ['INPUT0']. Please provide all required input(s).",
    ),
    row(
        "unknown input",
        request("identity_fp32", [tensor(), tensor("INPUT9")], [FOUR, FOUR]),
        *("unexpected inference input 'INPUT9' for model 'identity_fp32'", "'INPUT0'"),
    ),
    row(
        "input twice",
        request("identity_fp32", [tensor(), tensor()], [FOUR, FOUR]),
        *("input 'INPUT0' already exists in request", "'identity_fp32'"),
    ),
    row(
        "wrong datatype",
        request("add_sub", [tensor(shape=(1, 16)), TWO_INPUTS[1]], [INT32_ROW, INT32_ROW]),
        "inference input 'INPUT0' data-type is 'FP32', but model 'add_sub' expects 'INT32'",
    ),
    row(
        "datatype that does not exist",
        request("identity_fp32", [tensor(datatype="FLOAT")]),
        "inference input 'INPUT0' data-type is 'FLOAT', but model 'identity_fp32' expects 'FP32'",
    ),
    row(
        "wrong shape",
        request("add_sub", [tensor("INPUT0", "INT32", (1, 8)), TWO_INPUTS[1]], [INT32_ROW[:32], INT32_ROW]),
        "unexpected shape for input 'INPUT0' for model 'add_sub'. Expected [-1,16], got [1,8]. ",
    ),
    row(
        "wrong rank",
        request("identity_fp32", [tensor(shape=(1, 2, 2))]),
        "unexpected shape for input 'INPUT0' for model 'identity_fp32'. Expected [-1,4], got [1,2,2]. ",
    ),
    row(
        "open dimension in a request",
        request("identity_fp32", [tensor(shape=(1, -1))]),
        "All input dimensions should be specified for input 'INPUT0' for model 'identity_fp32', got [1,-1]",
    ),
    row(
        "batch too large",
        request("identity_fp32", [tensor(shape=(9, 4))], [FOUR * 9]),
        *("inference request batch-size must be <= 8 for 'identity_fp32'", "got 9"),
    ),
    row(
        "batch of no rows",
        request("identity_fp32", [tensor(shape=(0, 4))], [b""]),
        *("inference request batch-size must be >= 1 for 'identity_fp32'", "got 0"),
    ),
    row(
        "batches that differ",
        request("add_sub", [TWO_INPUTS[0], tensor("INPUT1", "INT32", (2, 16))], [INT32_ROW, INT32_ROW * 2]),
        *("input 'INPUT1' batch size does not match other inputs for 'add_sub'", "expected 1, got 2"),
    ),
    row(
        "no shape",
        request("identity_fp32", [tensor(shape=())]),
        "input 'INPUT0' has no shape but model requires batch dimension for 'identity_fp32'",
    ),
    row(
        "an empty axis beside one too large for any array",
        request("wide", [tensor(shape=(0, 2**62))], [b""]),
        *("unexpected shape for input 'INPUT0' for model 'wide'", "[0,4611686018427387904]"),
    ),
]
DATA = [
    row(
        "too many bytes",
        request("identity_fp32", None, [FOUR + b"\0" * 8]),
        "input byte size mismatch for input 'INPUT0' for model 'identity_fp32'. Expected 16, got 24",
    ),
    row(
        "too few bytes",
        request("identity_fp32", None, [b""]),
        "input byte size mismatch for input 'INPUT0' for model 'identity_fp32'. Expected 16, got 0",
    ),
    row(
        "too few strings",
        bytes_request(byte_strings(b"a", b"b", b"c")),
        "expected 4 string elements for inference input 'INPUT0' for model 'identity_bytes', got 3",
    ),
    row(
        "too many strings",
        bytes_request(byte_strings(b"a", b"b", b"c", b"d", b"e")),
        "unexpected number of string elements 5 for inference input 'INPUT0' for model 'identity_bytes', expecting 4",
    ),
    row(
        "cut length of a string",
        bytes_request(byte_strings(b"a", b"b", b"c") + b"\1\0"),
        "incomplete string length indicator for inference input 'INPUT0' for model 'identity_bytes'",
    ),
    row(
        "cut string",
        bytes_request(byte_strings(b"a", b"b", b"c") + b"\xff\xff\xff\xffd"),
        *("incomplete string data for inference input 'INPUT0' for model 'identity_bytes'", "got 1"),
    ),
    row(
        "string that is no text",
        bytes_request(byte_strings(b"a", b"b", b"c", b"\xff")),
        *("input 'INPUT0'", "UTF-8", "0xff"),
    ),
    row(
        "no data",
        request("identity_fp32", None, []),
        "unable to find data for input tensor 'INPUT0' for model 'identity_fp32' in request.",
    ),
    row(
        "data for the first input only",
        request("add_sub", TWO_INPUTS, [INT32_ROW]),
        "unable to find data for input tensor 'INPUT1' for model 'add_sub' in request.",
    ),
    row(
        "contents and raw",
        request("identity_fp32", [tensor(contents={"fp32_contents": [1, 2, 3, 4]})]),
        "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'identity_fp32'",
    ),
    row(
        "contents and shared memory",
        request("identity_fp32", [tensor(contents={"fp32_contents": [1] * 4}, parameters=REGION)], []),
        "unexpected 'content' provided when using shared memory for input tensor 'INPUT0' for model 'identity_fp32'",
    ),
    row(
        "contents of another kind",
        contents_request("FP32", "identity_fp32", fp64_contents=[1, 2, 3, 4]),
        "unexpected explicit tensor data for input tensor 'INPUT0' for model 'identity_fp32' of type "
        "'fp64_contents', expected datatype 'FP32'",
    ),
    row(
        "contents of two kinds",
        contents_request("FP32", "identity_fp32", fp32_contents=[1, 2, 3, 4], bool_contents=[True]),
        "unexpected explicit tensor data for input tensor 'INPUT0' for model 'identity_fp32' of type "
        "'bool_contents', ",
    ),
    row(
        "contents for a datatype that has none",
        contents_request("FP16", "identity_fp16", fp32_contents=[1, 2, 3, 4]),
        "unexpected explicit tensor data for input tensor 'INPUT0' for model 'identity_fp16' of type "
        "'fp32_contents', expected datatype 'FP16'",
    ),
    row(
        "too few contents",
        contents_request("FP32", "identity_fp32", fp32_contents=[1, 2, 3]),
        *("'INPUT0'", "'identity_fp32'", "Expected 4, got 3"),
    ),
    row(
        "empty contents",
        contents_request("FP32", "identity_fp32"),
        "unable to find data for input tensor 'INPUT0' for model 'identity_fp32' in request.",
    ),
    row(
        "unknown shared memory of an input",
        request("identity_fp32", [tensor(parameters=REGION)], []),
        "Unable to find shared memory region: 'region7'",
        code=NOT_FOUND,
    ),
]
