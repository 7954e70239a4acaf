"""The classification extension: an output as its best classes."""

import struct

import numpy as np
import pytest
import tritonclient.grpc as triton

from tests.rpc.test_datatypes import NUMPY
from tests.rpc.wire import Parameter, Requested, infer, request, tensor

CLASSIFIED = [datatype for datatype in NUMPY if datatype not in ("BOOL", "FP16", "BF16")]


def classes(channel, model, array, count, datatype="FP32"):
    wanted = Requested(name="OUTPUT0", parameters={"classification": Parameter(int64_param=count)})
    message = request(model, [tensor(datatype=datatype, shape=array.shape)], [array.tobytes()], outputs=[wanted])
    answer = infer(channel, message)
    (output,) = answer.outputs
    return output.datatype, list(output.shape), strings(answer.raw_output_contents[0])


def strings(data):
    found = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        found.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return found


def test_the_best_classes_come_first_with_index_and_label(channel):
    array = np.array([[0.5, -1, 3.25, 2]], np.float32)

    found = classes(channel, "labels", array, 3)

    assert found == ("BYTES", [1, 3], ["3.250000:2:cat", "2.000000:3:dog", "0.500000:0:ape"])


def test_among_equal_values_the_first_class_comes_first(channel):
    array = np.array([[2, 2, 1, 2]], np.float32)

    _, _, found = classes(channel, "labels", array, 4)

    assert found == ["2.000000:0:ape", "2.000000:1:bee", "2.000000:3:dog", "1.000000:2:cat"]


def test_every_row_of_a_batch_has_its_own_classes(channel):
    array = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [0, 0, 9, 0]], np.float32)

    found = classes(channel, "labels", array, 1)

    assert found == ("BYTES", [3, 1], ["4.000000:3:dog", "4.000000:0:ape", "9.000000:2:cat"])


def test_more_classes_than_there_are_means_all(channel):
    array = np.array([[1, 2, 3, 4]], np.float32)

    _, shape, found = classes(channel, "labels", array, 1000)

    assert shape == [1, 4]
    assert len(found) == 4


def test_without_labels_there_is_no_third_part(channel):
    _, _, found = classes(channel, "identity_fp32", np.array([[1, 2, 3, 4]], np.float32), 2)

    assert found == ["4.000000:3", "3.000000:2"]


def test_without_a_batch_dimension_the_shape_is_the_count(channel):
    found = classes(channel, "flat_int64", np.array([5, -7, 9], np.int64), 2, "INT64")

    assert found == ("BYTES", [2], ["9:2", "5:0"])


@pytest.mark.parametrize("datatype", CLASSIFIED)
def test_numbers_are_written_as_triton_does(channel, datatype):
    array = np.array([[1, 0, 3, 2]], NUMPY[datatype])
    form = "{}.000000:{}" if datatype.startswith("FP") else "{}:{}"

    _, _, found = classes(channel, f"identity_{datatype.lower()}", array, 4, datatype)

    assert found == [form.format(value, index) for value, index in ((3, 2), (2, 3), (1, 0), (0, 1))]


@pytest.mark.parametrize(
    ("datatype", "values", "order"),
    [
        ("INT8", (-128, 127, 0, -1), [1, 2, 3, 0]),
        ("INT64", (-(2**63), 2**63 - 1, 0, -1), [1, 2, 3, 0]),
        ("UINT8", (0, 255, 128, 127), [1, 2, 3, 0]),
        ("UINT64", (0, 2**64 - 1, 2**63, 2**63 - 1), [1, 2, 3, 0]),
        ("FP32", (float("-inf"), float("inf"), 0, float("nan")), [1, 2, 0, 3]),
    ],
)
def test_extreme_values_are_sorted_right(channel, datatype, values, order):
    array = np.array([values], NUMPY[datatype])

    _, _, found = classes(channel, f"keeps_{datatype.lower()}", array, 4, datatype)

    assert [int(text.split(":")[1]) for text in found] == order


def test_no_class_at_all_is_an_empty_answer(channel):
    found = classes(channel, "flat_fp32", np.zeros(0, np.float32), 3)

    assert found == ("BYTES", [0], [])


def test_one_output_may_be_classes_and_the_other_a_tensor(daemon):
    left, right = np.arange(16, dtype=np.int32).reshape(1, 16), np.ones((1, 16), np.int32)
    inputs = [triton.InferInput(f"INPUT{index}", (1, 16), "INT32") for index in (0, 1)]
    inputs[0].set_data_from_numpy(left)
    inputs[1].set_data_from_numpy(right)
    outputs = [triton.InferRequestedOutput("OUTPUT1"), triton.InferRequestedOutput("OUTPUT0", class_count=2)]

    with triton.InferenceServerClient(daemon.address) as client:
        result = client.infer("add_sub", inputs, outputs=outputs, request_id="c")

    assert result.get_response().id == "c"
    assert np.array_equal(result.as_numpy("OUTPUT1"), left - right)
    assert result.as_numpy("OUTPUT0").tolist() == [[b"16:15", b"15:14"]]


def test_plain_and_classified_requests_share_a_batch(channel):
    """Joined or not, each gets the form that it asked for."""
    array = np.array([[1, 2, 3, 4]], np.float32)
    wanted = Requested(name="OUTPUT0", parameters={"classification": Parameter(int64_param=1)})
    plain = request("slow", raw=[array.tobytes()]).SerializeToString()
    classified = request("slow", raw=[array.tobytes()], outputs=[wanted]).SerializeToString()
    method = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    futures = [method.future(data, timeout=30) for data in (plain, classified) * 8]

    answers = [future.result() for future in futures]
    assert len(set(answers[::2])) == 1
    assert len(set(answers[1::2])) == 1
    assert array.tobytes() in answers[0]
    assert b"4.000000:3" in answers[1]
