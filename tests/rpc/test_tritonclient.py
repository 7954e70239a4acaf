"""Triton's own client, unchanged, over every transport that it has."""

import asyncio
import queue

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from tests.rpc.wire import call

TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def client(daemon):
    with triton.InferenceServerClient(daemon.address) as client:
        yield client


@pytest.fixture
def numbers():
    """INT32 [2, 16] twice."""
    return np.arange(32, dtype=np.int32).reshape(2, 16), np.full((2, 16), 7, np.int32)


def tensors(module, *arrays):
    inputs = [module.InferInput(f"INPUT{index}", array.shape, "INT32") for index, array in enumerate(arrays)]
    for tensor, array in zip(inputs, arrays, strict=True):
        tensor.set_data_from_numpy(array)
    return inputs


def is_sum_and_difference(result, left, right):
    return np.array_equal(result.as_numpy("OUTPUT0"), left + right) and np.array_equal(
        result.as_numpy("OUTPUT1"), left - right
    )


def test_a_synchronous_call_is_answered(client, numbers):
    result = client.infer("add_sub", tensors(triton, *numbers))

    assert is_sum_and_difference(result, *numbers)
    assert result.get_response().model_version == "1"


def test_asynchronous_calls_are_answered_each_with_its_own_id(client, numbers):
    answers = queue.Queue()
    for number in range(40):
        client.async_infer(
            "add_sub",
            tensors(triton, numbers[0] + number, numbers[1]),
            callback=lambda result, error: answers.put((result, error)),
            request_id=str(number),
        )

    results = [answers.get(timeout=TIMEOUT_S) for _ in range(40)]

    assert [error for _, error in results] == [None] * 40
    for result, _ in results:
        number = int(result.get_response().id)
        assert is_sum_and_difference(result, numbers[0] + number, numbers[1])


def test_the_asyncio_client_is_answered(daemon, numbers):
    async def infer():
        async with triton_aio.InferenceServerClient(daemon.address) as client:
            calls = [client.infer("add_sub", tensors(triton_aio, *numbers)) for _ in range(20)]
            return await asyncio.gather(*calls)

    results = asyncio.run(infer())

    assert all(is_sum_and_difference(result, *numbers) for result in results)


def test_the_unix_socket_is_answered(daemon, numbers):
    with triton.InferenceServerClient(daemon.unix) as client:
        result = client.infer("add_sub", tensors(triton, *numbers))

    assert is_sum_and_difference(result, *numbers)


def test_an_error_has_the_code_and_the_words_of_the_server(client, numbers):
    with pytest.raises(triton.InferenceServerException) as refused:
        client.infer("nowhere", tensors(triton, *numbers), request_id="r1")

    assert refused.value.status() == "StatusCode.NOT_FOUND"
    assert refused.value.message().startswith("[request id: r1] Request for unknown model: 'nowhere' is not found")


@pytest.mark.parametrize("request_id", ["", "a", "ünïcode ☃", "x" * 10_000])
def test_the_request_id_comes_back(client, numbers, request_id):
    result = client.infer("add_sub", tensors(triton, *numbers), request_id=request_id)

    assert result.get_response().id == request_id


@pytest.mark.parametrize("names", [["OUTPUT0"], ["OUTPUT1"], ["OUTPUT0", "OUTPUT1"], ["OUTPUT1", "OUTPUT0"]])
def test_outputs_come_as_asked_and_in_that_order(client, numbers, names):
    outputs = [triton.InferRequestedOutput(name) for name in names]

    result = client.infer("add_sub", tensors(triton, *numbers), outputs=outputs)

    assert [output.name for output in result.get_response().outputs] == names
    expected = {"OUTPUT0": numbers[0] + numbers[1], "OUTPUT1": numbers[0] - numbers[1]}
    for name in ("OUTPUT0", "OUTPUT1"):
        assert np.array_equal(result.as_numpy(name), expected[name] if name in names else None)


def test_inputs_may_come_in_any_order(client, numbers):
    result = client.infer("add_sub", tensors(triton, *numbers)[::-1])

    assert is_sum_and_difference(result, *numbers)


def test_an_optional_input_may_be_left_out(client):
    array = np.ones((1, 4), np.float32)
    tensor = triton.InferInput("INPUT0", array.shape, "FP32").set_data_from_numpy(array)
    other = triton.InferInput("INPUT1", array.shape, "FP32").set_data_from_numpy(array)

    for inputs in ([tensor], [tensor, other]):
        assert np.array_equal(client.infer("optional", inputs).as_numpy("OUTPUT0"), array)


def test_custom_and_sequence_parameters_are_accepted(client, numbers):
    parameters = {"text": "x", "flag": True, "number": -5, "ratio": 0.5}

    result = client.infer(
        "add_sub",
        tensors(triton, *numbers),
        sequence_id=9,
        sequence_start=True,
        priority=3,
        timeout=5_000_000,
        parameters=parameters,
    )

    assert is_sum_and_difference(result, *numbers)


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_compressed_messages_are_understood(client, numbers, compression):
    result = client.infer("add_sub", tensors(triton, *numbers), compression_algorithm=compression)

    assert is_sum_and_difference(result, *numbers)


@pytest.mark.parametrize("model", ["flat_fp32", "keeps_bytes", "flat_bytes"])
def test_five_megabytes_come_back_bit_by_bit(client, model):
    data = np.random.default_rng(1).integers(0, 256, 5 * 1024 * 1024, np.uint8)
    if "bytes" in model:
        text = data[: 2**20].astype(str).astype(object)
        array = np.array(["".join(part) for part in text.reshape(4, -1)], object)
        array = array.reshape(1, 4) if model == "keeps_bytes" else array
        tensor = triton.InferInput("INPUT0", array.shape, "BYTES").set_data_from_numpy(array)
        expected = np.array([element.encode() for element in array.reshape(-1)], object).reshape(array.shape)
    else:
        expected = data.view(np.float32)
        tensor = triton.InferInput("INPUT0", expected.shape, "FP32").set_data_from_numpy(expected)

    found = client.infer(model, [tensor]).as_numpy("OUTPUT0")

    assert found.shape == expected.shape
    assert found.tolist() == expected.tolist() if found.dtype == object else found.tobytes() == expected.tobytes()


def test_the_server_describes_itself(client):
    metadata = client.get_server_metadata()

    assert client.is_server_live()
    assert client.is_server_ready()
    assert metadata.name == "appliance"
    assert metadata.version
    assert {"classification", "model_repository", "statistics", "binary_tensor_data"} <= set(metadata.extensions)
    assert "system_shared_memory" not in metadata.extensions


def test_metadata_have_the_batch_dimension(client):
    metadata = client.get_model_metadata("add_sub")

    assert (metadata.name, list(metadata.versions), metadata.platform) == ("add_sub", ["1"], "onnxruntime_onnx")
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.inputs] == [
        ("INPUT0", "INT32", [-1, 16]),
        ("INPUT1", "INT32", [-1, 16]),
    ]
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in metadata.outputs] == [
        ("OUTPUT0", "INT32", [-1, 16]),
        ("OUTPUT1", "INT32", [-1, 16]),
    ]
    assert list(client.get_model_metadata("flat_fp32").inputs[0].shape) == [-1]


def test_the_configuration_is_complete(client):
    config = client.get_model_config("add_sub").config

    assert (config.name, config.backend, config.platform) == ("add_sub", "onnxruntime", "onnxruntime_onnx")
    assert (config.max_batch_size, list(config.dynamic_batching.preferred_batch_size)) == (8, [8])
    assert [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input] == [
        ("INPUT0", triton.model_config_pb2.TYPE_INT32, [16]),
        ("INPUT1", triton.model_config_pb2.TYPE_INT32, [16]),
    ]
    assert config.version_policy.latest.num_versions == 1
    assert [(group.name, group.count) for group in config.instance_group] == [("add_sub", 2)]
    assert config.default_model_filename == "model.onnx"
    assert config.optimization.input_pinned_memory.enable


@pytest.mark.parametrize("version", ["", "-1", "1"])
def test_a_model_may_be_asked_for_by_version(client, numbers, version):
    result = client.infer("add_sub", tensors(triton, *numbers), model_version=version)

    assert client.is_model_ready("add_sub", version)
    assert result.get_response().model_version == "1"


def test_a_model_that_is_not_there_is_not_ready(client):
    assert not client.is_model_ready("nowhere")
    assert not client.is_model_ready("add_sub", "9")
    assert not client.is_model_ready("two", "1")
    assert client.is_model_ready("two", "2")


def test_a_raw_reply_needs_no_client_of_ours(channel):
    """ServerLive is true whatever else happens: an empty message is enough to ask."""
    answer = call(channel, "ServerLive", b"")

    assert answer == b"\x08\x01"
