"""Bad requests to methods other than ModelInfer, and bytes that are no request at all."""

import json

import grpc
import pytest

from appliance.rpc.pb import grpc_service_pb2 as pb
from tests.rpc.packages import write_broken, write_reference
from tests.rpc.wire import METHODS, answers_right, call, refusal, request, tensor
from tests.support.daemon import DaemonProcess

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
INTERNAL = grpc.StatusCode.INTERNAL
NOT_BUILT = [method for method in METHODS if "SharedMemory" in method or method in ("TraceSetting", "LogSettings")]
MESSAGE_LIMIT = 1024 * 1024

Load = pb.RepositoryModelLoadRequest
Unload = pb.RepositoryModelUnloadRequest
Parameter = pb.ModelRepositoryParameter


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A daemon whose operator allows no load over the network, and messages of at most 1 MiB."""
    models = tmp_path_factory.mktemp("locked")
    write_reference(models, "keeps_fp32", "FP32", "max_batch_size = 8\n")
    write_broken(models)
    settings = {"MODELS_REPOSITORY_CONTROL": "false", "SERVER_MAX_MESSAGE_BYTES": str(MESSAGE_LIMIT)}
    with DaemonProcess(models, settings=settings) as daemon, daemon.channel() as channel:
        yield channel
        assert daemon.complaints == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ModelMetadata", pb.ModelMetadataRequest(name="nowhere")),
        ("ModelConfig", pb.ModelConfigRequest(name="nowhere")),
        ("ModelStatistics", pb.ModelStatisticsRequest(name="nowhere")),
        ("RepositoryModelUnload", Unload(model_name="nowhere")),
        ("RepositoryModelUnload", Unload(model_name="no such name")),
    ],
)
def test_an_unknown_model_is_not_found_by_any_method(channel, method, message):
    code, details = refusal(channel, method, message.SerializeToString())

    assert code is NOT_FOUND
    assert "Request for unknown model: 'no" in details
    assert "is not found" in details


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("ModelMetadata", pb.ModelMetadataRequest(name="add_sub", version="3")),
        ("ModelConfig", pb.ModelConfigRequest(name="add_sub", version="3")),
        ("ModelStatistics", pb.ModelStatisticsRequest(name="add_sub", version="3")),
    ],
)
def test_an_unknown_version_is_not_found_by_any_method(channel, method, message):
    code, details = refusal(channel, method, message.SerializeToString())

    assert code is NOT_FOUND
    assert "Request for unknown model: 'add_sub' version 3 is not found" in details


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize("version", ["one", "1.0", "0x1", "99999999999999999999999", "1" + "x" * 30, " 1", "1_0"])
def test_a_version_that_is_no_number_is_refused_by_every_method(channel, method, version):
    message = getattr(pb, f"{method}Request")(name="add_sub", version=version)

    code, details = refusal(channel, method, message.SerializeToString())

    assert code is INVALID
    assert f"failed to get model version from specified version string '{version}'" in details


@pytest.mark.parametrize(
    "message", [pb.ModelMetadataRequest(name="broken"), request("broken"), pb.ModelStatisticsRequest(name="broken")]
)
def test_a_model_without_a_ready_version_is_not_found(locked, message):
    method = type(message).__name__.removesuffix("Request")

    code, details = refusal(locked, method, message.SerializeToString())

    assert code is NOT_FOUND
    assert "Request for unknown model: 'broken' has no available versions" in details


@pytest.mark.parametrize("message", [Load(model_name="keeps_fp32"), Unload(model_name="keeps_fp32")])
def test_load_and_unload_are_refused_where_the_operator_does_not_allow_them(locked, message):
    method = type(message).__name__.removesuffix("Request")

    code, details = refusal(locked, method, message.SerializeToString())

    assert code is UNAVAILABLE
    assert "explicit model load / unload is not allowed" in details
    assert "models.repository_control" in details
    assert answers_right(locked, "keeps_fp32")


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (Load(model_name="../etc"), INVALID, ("invalid model name '../etc'", "path traversal characters")),
        (Load(model_name="a/b"), INVALID, ("invalid model name 'a/b', model name must not contain path traversal",)),
        (Load(model_name=""), INVALID, ("Model name cannot be empty. Please enter a valid name to deploy.",)),
        (Load(model_name=" \t"), INVALID, ("Model name cannot be empty. Please enter a valid name to deploy.",)),
        (Load(model_name="nowhere"), INTERNAL, ("failed to load 'nowhere', failed to poll from model repository",)),
        (Load(model_name="ä b"), INTERNAL, ("failed to load 'ä b', failed to poll from model repository",)),
        (
            Load(model_name="add_sub", parameters={"config": Parameter(string_param="{")}),
            INTERNAL,
            ("failed to load 'add_sub', failed to poll from model repository",),
        ),
        (
            Load(model_name="add_sub", parameters={"config": Parameter(string_param="[" * 100_000)}),
            INTERNAL,
            ("failed to load 'add_sub', failed to poll from model repository",),
        ),
        (
            Load(model_name="add_sub", parameters={"config": Parameter(string_param='{"max_batch_size": "many"}')}),
            INTERNAL,
            ("failed to load 'add_sub', failed to poll from model repository", "many"),
        ),
        (
            Load(model_name="add_sub", parameters={"config": Parameter(string_param='{"backend": "tensorrt"}')}),
            INTERNAL,
            ("failed to load 'add_sub', ", "goes on serving", "engines from elsewhere", "bring the ONNX file"),
        ),
        (
            Load(model_name="add_sub", parameters={"config": Parameter(bool_param=True)}),
            INVALID,
            ("invalid value type for load parameter 'config', expected string_param.",),
        ),
        (
            Load(model_name="add_sub", parameters={"file:1/model.onnx": Parameter(string_param="x")}),
            INVALID,
            ("invalid value type for load parameter 'file:1/model.onnx', expected bytes_param.",),
        ),
        (
            Load(model_name="add_sub", parameters={"file:1/model.onnx": Parameter(bytes_param=b"x")}),
            UNIMPLEMENTED,
            ("load parameter 'file:' is not supported",),
        ),
        (
            Load(model_name="add_sub", parameters={"mine": Parameter(string_param="x")}),
            INVALID,
            ("unrecognized load parameter 'mine'",),
        ),
        (
            Load(model_name="add_sub", repository_name="here"),
            UNIMPLEMENTED,
            ("'repository_name' specification is not supported", "'here'"),
        ),
        (
            Unload(model_name="add_sub", repository_name="here"),
            UNIMPLEMENTED,
            ("'repository_name' specification is not supported",),
        ),
        (
            Unload(model_name="add_sub", parameters={"unload_dependents": Parameter(string_param="x")}),
            INVALID,
            ("invalid value type for unload parameter 'unload_dependents', expected bool_param.",),
        ),
        (
            pb.RepositoryIndexRequest(repository_name="here"),
            UNIMPLEMENTED,
            ("'repository_name' specification is not supported",),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_bad_request_to_the_repository_is_refused(channel, message, code, words):
    method = type(message).__name__.removesuffix("Request")

    found, details = refusal(channel, method, message.SerializeToString())

    assert found is code
    for word in words:
        assert word in details
    call(channel, "ModelMetadata", pb.ModelMetadataRequest(name="add_sub").SerializeToString())


@pytest.mark.parametrize("method", NOT_BUILT)
def test_what_is_not_built_is_unimplemented(channel, method):
    code, details = refusal(channel, method, b"")

    assert code is UNIMPLEMENTED
    assert details


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x0a\x05ab"])
@pytest.mark.parametrize("method", [method for method in METHODS if method not in NOT_BUILT])
def test_bytes_that_are_no_message_are_refused(channel, method, garbage):
    code, details = refusal(channel, method, garbage)

    assert code is INVALID
    assert f"the request is not a {method}Request" in details


def test_a_method_that_does_not_exist_is_unimplemented(channel):
    assert refusal(channel, "NoSuchMethod", b"")[0] is UNIMPLEMENTED
    assert refusal(channel, "/no.such.Service/Method", b"")[0] is UNIMPLEMENTED


def test_the_administration_is_not_served_to_clients(channel):
    code, _ = refusal(channel, "/appliance.admin.v1.ApplianceAdmin/Status", b"")

    assert code is UNIMPLEMENTED


def test_a_message_above_the_limit_is_refused_and_the_connection_lives_on(locked):
    message = request("keeps_fp32", [tensor()], [bytes(MESSAGE_LIMIT)])

    code, details = refusal(locked, "ModelInfer", message.SerializeToString())

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert str(MESSAGE_LIMIT) in details
    assert answers_right(locked, "keeps_fp32")


def test_after_all_refusals_the_daemon_still_answers_right(channel):
    assert answers_right(channel)


def test_an_error_that_holds_no_character_reaches_its_client(daemon):
    """A name in a request may hold half of a pair, which no encoding can say."""
    config = json.dumps({"\ud800": 1})[:-1] + ',"\\ud800": 2}'
    message = pb.RepositoryModelLoadRequest(model_name="identity_fp32")
    message.parameters["config"].string_param = config
    with daemon.channel() as channel:
        code, details = refusal(channel, "RepositoryModelLoad", message.SerializeToString())

    assert (code, "\\ud800" in details) == (INTERNAL, True)
