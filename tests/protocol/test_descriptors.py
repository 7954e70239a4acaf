"""Our protobuf descriptors equal those that clients carry, and the generated modules are current.

Descriptors are read in child processes: in one process both copies share the default pool, so that comparing them
there would compare a thing with itself.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("appliance/model/pb", "appliance/rpc/pb", "appliance/backends/onnx_pb")
FILES = ("model_config.proto", "grpc_service.proto")
OURS = (
    "from appliance.model.pb import model_config_pb2 as config\n"
    "from appliance.rpc.pb import grpc_service_pb2 as service\n"
)
THEIRS = "from tritonclient.grpc import service_pb2 as service, model_config_pb2 as config\n"
METHODS = (
    *("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelStreamInfer"),
    *("ModelConfig", "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"),
    *("SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister"),
    *("CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister"),
    *("TraceSetting", "LogSettings"),
)


def python(code: str) -> str:
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def serialized_files(imports: str) -> dict[str, bytes]:
    code = imports + "for module in (config, service):\n print(module.DESCRIPTOR.serialized_pb.hex())"
    return {name: bytes.fromhex(line) for name, line in zip(FILES, python(code).splitlines(), strict=True)}


@pytest.fixture(scope="module")
def ours() -> dict[str, bytes]:
    return serialized_files(OURS)


@pytest.fixture(scope="module")
def theirs() -> dict[str, bytes]:
    return serialized_files(THEIRS)


def file_proto(serialized: bytes) -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto.FromString(serialized)


def in_private_pool(files: dict[str, bytes]) -> list[FileDescriptor]:
    pool = DescriptorPool()
    for name in FILES:
        pool.AddSerializedFile(files[name])
    return [pool.FindFileByName(name) for name in FILES]


def walk(file: FileDescriptor) -> Iterator[tuple[object, ...]]:
    """Everything that a client can notice, one flat row per thing."""
    for enum in file.enum_types_by_name.values():
        yield from walk_enum(enum)
    for message in file.message_types_by_name.values():
        yield from walk_message(message)
    for service in file.services_by_name.values():
        for method in service.methods:
            types = method.input_type.full_name, method.output_type.full_name
            yield "method", method.full_name, *types, method.client_streaming, method.server_streaming


def walk_enum(enum: EnumDescriptor) -> Iterator[tuple[object, ...]]:
    yield "enum", enum.full_name, tuple((value.name, value.number) for value in enum.values)


def walk_message(message: Descriptor) -> Iterator[tuple[object, ...]]:
    yield "message", message.full_name, message.GetOptions().map_entry, tuple(one.name for one in message.oneofs)
    for field in message.fields:
        yield "field", field.full_name, field.number, field.json_name, field.type, *field_details(field)
    for enum in message.enum_types:
        yield from walk_enum(enum)
    for nested in message.nested_types:
        yield from walk_message(nested)


def field_details(field: FieldDescriptor) -> tuple[object, ...]:
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof
    flags = field.is_repeated, field.is_packed, field.has_presence
    return kind and kind.full_name, oneof and oneof.name, *flags


@pytest.mark.parametrize("name", FILES)
def test_our_file_descriptor_is_the_one_of_tritonclient(name, ours, theirs):
    mine, other = file_proto(ours[name]), file_proto(theirs[name])

    assert mine.name == name
    assert mine.package == "inference"
    assert mine == other
    assert ours[name] == theirs[name]


def test_messages_fields_enums_and_services_agree_one_by_one(ours, theirs):
    for mine, other in zip(in_private_pool(ours), in_private_pool(theirs), strict=True):
        rows = list(walk(mine))

        assert rows == list(walk(other))
        assert len(rows) > 100


def test_the_service_has_its_twenty_methods_and_one_stream(ours):
    service = in_private_pool(ours)[1].services_by_name["GRPCInferenceService"]
    streaming = {one.name: (one.client_streaming, one.server_streaming) for one in service.methods}

    assert tuple(streaming) == METHODS
    assert service.full_name == "inference.GRPCInferenceService"
    assert streaming.pop("ModelStreamInfer") == (True, True)
    assert set(streaming.values()) == {(False, False)}


@pytest.mark.parametrize("imports", [OURS + THEIRS, THEIRS + OURS], ids=["ours_first", "tritonclient_first"])
def test_one_process_can_import_both(imports):
    code = imports + (
        "import sys\n"
        "ours = sys.modules['appliance.rpc.pb.grpc_service_pb2'].ModelInferRequest\n"
        "theirs = sys.modules['tritonclient.grpc.service_pb2'].ModelInferRequest\n"
        "print(ours.FromString(theirs(model_name='detector').SerializeToString()).model_name)\n"
    )

    assert python(code) == "detector\n"


def test_the_admin_service_streams_only_what_takes_long():
    from appliance.rpc.pb import appliance_admin_pb2 as admin  # noqa: PLC0415

    service = admin.DESCRIPTOR.services_by_name["ApplianceAdmin"]

    assert service.full_name == "appliance.admin.v1.ApplianceAdmin"
    assert [method.name for method in service.methods] == [
        "Status",
        "Reconcile",
        "ReloadSettings",
        "CancelEngineBuild",
        "ApplyUpdate",
        "RollBackUpdate",
    ]
    assert not any(method.client_streaming for method in service.methods)
    streams = [method.name for method in service.methods if method.server_streaming]
    assert streams == ["ApplyUpdate", "RollBackUpdate"]


def test_our_part_of_onnx_has_the_numbers_and_types_of_onnx():
    import onnx  # noqa: PLC0415

    from appliance.backends.onnx_pb import onnx_graph_pb2 as subset  # noqa: PLC0415

    for message in messages(subset.DESCRIPTOR.message_types_by_name.values()):
        original = onnx.ModelProto.DESCRIPTOR.file.pool.FindMessageTypeByName(as_onnx(message.full_name))
        for field in message.fields:
            assert row(field) == row(original.fields_by_name[field.name])
        for enum in message.enum_types:
            known = {value.name: value.number for value in original.enum_types_by_name[enum.name].values}
            assert {value.name: value.number for value in enum.values}.items() <= known.items()


def test_our_part_of_onnx_knows_every_way_to_a_tensor_or_a_graph():
    import onnx  # noqa: PLC0415

    from appliance.backends.onnx_pb import onnx_graph_pb2 as subset  # noqa: PLC0415

    carriers = {"onnx." + message.name for message in subset.DESCRIPTOR.message_types_by_name.values()}
    # Types and strings only, in messages that we have for other reasons.
    harmless = {"onnx.TypeProto", "onnx.StringStringEntryProto"}

    for message in subset.DESCRIPTOR.message_types_by_name.values():
        original = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name[message.name]
        for field in original.fields:
            if field.message_type and field.message_type.full_name in carriers - harmless:
                assert field.name in message.fields_by_name, field.full_name


def messages(some: object) -> Iterator[Descriptor]:
    for message in some:
        yield message
        yield from messages(message.nested_types)


def as_onnx(full_name: str) -> str:
    return full_name.replace("appliance.onnx.", "onnx.")


def row(field: FieldDescriptor) -> tuple[object, ...]:
    kind, oneof, *flags = field_details(field)
    return field.name, field.number, field.type, kind and as_onnx(kind), oneof, *flags


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("protos", *GENERATED):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/gen-protos", tmp_path / "scripts")
    return tmp_path


def gen_protos(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "scripts/gen-protos"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_committed_modules_are_current():
    result = gen_protos(ROOT, "--check")

    assert result.returncode == 0, result.stderr


def test_a_changed_proto_fails_the_check_until_the_modules_are_made_again(copy):
    proto = copy / "protos/appliance_admin.proto"
    proto.write_text(proto.read_text().replace("int32 pid = 2;", "int64 pid = 2;"))

    stale = gen_protos(copy, "--check")
    gen_protos(copy)
    current = gen_protos(copy, "--check")

    assert stale.returncode == 1
    assert "appliance/rpc/pb/appliance_admin_pb2.py is stale: run scripts/gen-protos" in stale.stderr
    assert current.returncode == 0, current.stderr


def test_a_missing_and_a_left_over_module_fail_the_check(copy):
    modules = copy / "appliance/model/pb"
    (modules / "model_config_pb2.py").rename(modules / "old_pb2.py")

    result = gen_protos(copy, "--check")

    assert result.returncode == 1
    assert "model_config_pb2.py is missing: run scripts/gen-protos" in result.stderr
    assert "old_pb2.py has no proto" in result.stderr


def test_generated_code_is_not_newer_than_the_oldest_runtime_that_we_allow():
    pyproject = (ROOT / "pyproject.toml").read_text()
    lowest = re.search(r'"protobuf>=([\d.]+)', pyproject)[1]
    modules = [path for folder in GENERATED for path in (ROOT / folder).glob("*_pb2.py")]

    assert len(modules) == 4
    for module in modules:
        made_for = re.search(r"^# Protobuf Python Version: ([\d.]+)$", module.read_text(), re.MULTILINE)[1]
        assert numbers(made_for) <= numbers(lowest), module


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
