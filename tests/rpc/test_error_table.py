"""Every bad request gets its own status code and the words that Triton's clients look for, with what was found."""

import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.input_errors import DATA, INPUTS, INTERNAL, INVALID, MODEL_AND_VERSION, NOT_FOUND, REGION, row
from tests.rpc.wire import FOUR, Parameter, Requested, answers_right, call, fp32, refusal, request, tensor


def with_parameter(key: str, **value: object) -> pb.ModelInferRequest:
    return request("identity_fp32", parameters={key: Parameter(**value)})


def classified(model: str, datatype: str, **value: object) -> pb.ModelInferRequest:
    wanted = Requested(name="OUTPUT0", parameters={"classification": Parameter(**value)})
    sizes = {"BYTES": b"\0\0\0\0" * 4, "BOOL": b"\0" * 4, "FP16": b"\0" * 8, "BF16": b"\0" * 8, "FP32": FOUR}
    return request(model, [tensor(datatype=datatype)], [sizes[datatype]], outputs=[wanted])


OUTPUTS = [
    row(
        "unknown output",
        request("identity_fp32", outputs=["OUTPUT9"]),
        *("unexpected inference output 'OUTPUT9' for model 'identity_fp32'", "'OUTPUT0'"),
    ),
    row(
        "output twice",
        request("identity_fp32", outputs=["OUTPUT0", "OUTPUT0"]),
        *("output 'OUTPUT0' already exists in request", "'identity_fp32'"),
    ),
    row(
        "unknown shared memory of an output",
        request("identity_fp32", outputs=[Requested(name="OUTPUT0", parameters=REGION)]),
        "Unable to find shared memory region: 'region7'",
        code=NOT_FOUND,
    ),
    row(
        "shared memory and classification",
        request(
            "identity_fp32",
            outputs=[Requested(name="OUTPUT0", parameters=REGION | {"classification": Parameter(int64_param=1)})],
        ),
        "output can't set both 'shared_memory_region' and 'classification'",
    ),
    row(
        "classification of the wrong kind",
        classified("identity_fp32", "FP32", string_param="1"),
        *("invalid value type for 'classification' parameter, expected int64_param", "'OUTPUT0'"),
    ),
    row(
        "no classes",
        classified("identity_fp32", "FP32", int64_param=0),
        *("invalid value for 'classification' parameter, expected >= 0", "got 0"),
    ),
    *(
        row(
            f"classification of {datatype}",
            classified(f"identity_{datatype.lower()}", datatype, int64_param=1),
            f"class result not available for output due to unsupported type '{datatype}'",
        )
        for datatype in ("BYTES", "BOOL", "FP16", "BF16")
    ),
    row(
        "classification of a million and one",
        request(
            "flat_uint8",
            [tensor(datatype="UINT8", shape=(1_000_001,))],
            [b"\0" * 1_000_001],
            outputs=[Requested(name="OUTPUT0", parameters={"classification": Parameter(int64_param=1)})],
        ),
        *("classification output tensor too large", "1000001"),
    ),
]
PARAMETERS = [
    *(
        row(
            f"{key} of the wrong kind",
            with_parameter(key, string_param="x") if key != "sequence_id" else with_parameter(key, bool_param=True),
            f"invalid value type for '{key}' parameter, expected {expected}",
        )
        for key, expected in {
            "sequence_id": "int64_param or string_param",
            "sequence_start": "bool_param",
            "sequence_end": "bool_param",
            "priority": "int64_param or uint64_param",
            "timeout": "int64_param",
            "triton_enable_empty_final_response": "bool_param",
        }.items()
    ),
    row(
        "custom parameter of an unsigned number",
        with_parameter("mine", uint64_param=1),
        "invalid value type for 'mine' parameter, expected int64_param or bool_param or string_param or double_param",
    ),
    row("parameter without a value", with_parameter("mine"), "invalid value type for 'mine' parameter", "no value"),
    row(
        "negative priority",
        with_parameter("priority", int64_param=-1),
        *("invalid value for 'priority', expected value >= 0.", "-1"),
    ),
    row("negative timeout", with_parameter("timeout", int64_param=-1), "invalid value for 'timeout'", "-1"),
    row(
        "reserved parameter",
        with_parameter("triton_mine", bool_param=True),
        *("parameter keys starting with 'triton_' are reserved for Triton usage.", "'triton_mine'"),
    ),
]
EXECUTION = [
    row(
        "model that fails",
        request("fails"),
        "the reference model was told to fail",
        code=INTERNAL,
    ),
]
TABLE = [*MODEL_AND_VERSION, *INPUTS, *DATA, *OUTPUTS, *PARAMETERS, *EXECUTION]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name.replace(" ", "-"))
def test_a_bad_request_is_refused_in_the_words_that_clients_know(channel, row):
    message = pb.ModelInferRequest.FromString(row.message.SerializeToString())
    message.id = "id-5"

    code, details = refusal(channel, "ModelInfer", message.SerializeToString())

    assert code is row.code
    assert details.startswith("[request id: id-5] ")
    for words in row.words:
        assert words in details


def test_a_refusal_of_a_request_without_an_id_says_so(channel):
    _, details = refusal(channel, "ModelInfer", request("nowhere").SerializeToString())

    assert details.startswith("[request id: <id_unknown>] ")


def test_a_refusal_names_the_id_of_a_message_in_an_unusual_encoding(channel):
    unknown_field = b"\xf8\x3f\x01"  # field 1023, varint 1

    _, details = refusal(channel, "ModelInfer", request("nowhere", id="id-6").SerializeToString() + unknown_field)

    assert details.startswith("[request id: id-6] ")


@pytest.mark.parametrize("length", [10_000, 1_000_000])
def test_a_refusal_fits_into_the_headers_of_an_answer(channel, length):
    name = "x" * length

    refusals = [
        refusal(channel, "ModelInfer", message.SerializeToString())
        for message in (
            request(name),
            request("identity_fp32", outputs=[name]),
            request("nowhere", id=name),
            request("identity_fp32", [tensor(shape=[1] * length)]),
        )
    ]

    assert [code for code, _ in refusals] == [NOT_FOUND, INVALID, NOT_FOUND, INVALID]
    assert "Request for unknown model: 'nowhere' is not found" in refusals[2][1]


def test_after_all_refusals_the_daemon_still_answers_right(channel):
    assert answers_right(channel)
    assert answers_right(channel, "keeps_fp32")


def test_neighbours_of_a_refused_row_are_answered(channel):
    """The same header with data of the right size still passes, whatever was remembered of it."""
    bad, good = request("keeps_fp32", None, [FOUR[:-1]]), request("keeps_fp32", None, [fp32((5, 6, 7, 8))])

    refusal(channel, "ModelInfer", bad.SerializeToString())

    assert answers_right(channel, "keeps_fp32")
    assert refusal(channel, "ModelInfer", bad.SerializeToString())[0] is INVALID
    assert call(channel, "ModelInfer", good.SerializeToString())
