from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from appliance.backends.onnx_inspection import LARGEST_FILE_BYTES, inspect_onnx
from appliance.errors import InvalidInput
from tests.support import hostile_models, onnx_models

SHAPE = ["N", 16]


def refusal(model_file: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        inspect_onnx(model_file)
    return str(caught.value)


def save(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def sound_model(path: Path) -> onnx.ModelProto:
    return onnx.load(onnx_models.write_identity(path, "FP32", [16]))


def test_a_sound_model_tells_its_facts(tmp_path):
    path = tmp_path / "model.onnx"
    model = sound_model(path)
    model.producer_name, model.producer_version = "exporter", "1.2"
    helper.set_model_props(model, {"licence": "Apache-2.0"})

    facts = inspect_onnx(save(path, model))

    assert facts.producer == "exporter 1.2"
    assert facts.ir_version == onnx_models.IR_VERSION
    assert facts.opsets == {"": onnx_models.OPSET}
    assert facts.operators == ("Identity",)
    assert facts.node_count == 1
    assert facts.external_files == ()
    assert facts.metadata == {"licence": "Apache-2.0"}


@pytest.mark.parametrize("name", ["digits", "breast-cancer"])
def test_the_models_of_this_repository_are_accepted(name):
    facts = inspect_onnx(Path(__file__).parents[2] / "models" / name / "1" / "model.onnx")

    assert "Gemm" in facts.operators


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (hostile_models.write_external_data_absolute, "'/etc/passwd': an absolute path, expected one relative"),
        (hostile_models.write_external_data_outside, "'../../etc/passwd': which leaves the directory of the model"),
        (hostile_models.write_external_data_in_memory, "'*/_ORT_MEM_ADDR_/*': a raw memory address"),
        (
            hostile_models.write_cloud_operator,
            "'AzureTextToText' of 'com.microsoft.extensions', which calls a remote",
        ),
        (hostile_models.write_unknown_domain, "'Identity' of 'org.example.nowhere', expected operators of ai.onnx"),
        (hostile_models.write_future_opset, "opset 9999 of ai.onnx, expected 26 or lower"),
        (hostile_models.write_truncated, "is cut off or not an ONNX file"),
        (hostile_models.write_random_bytes, "is not an ONNX file, or it is damaged"),
    ],
)
def test_a_hostile_file_is_refused_with_its_reason(tmp_path, write: Callable[[Path], Path], words):
    assert words in refusal(write(tmp_path / "model.onnx"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 bytes, expected 1 to"),
        (b"this is a readme, not a model", "is not an ONNX file, or it is damaged"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer of 63 bytes"),
        (b"\x08\x0a", "has no operators"),
        (b"\x3a\x80\x80\x04abc", "has 7 bytes and announces at least 65533 more"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path, content, words):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    assert words in refusal(path)


def test_a_missing_file_is_refused(tmp_path):
    assert "does not exist" in refusal(tmp_path / "model.onnx")
    assert "not a regular file" in refusal(tmp_path)


def test_a_file_of_2_gib_is_refused_unread(tmp_path):
    path = tmp_path / "model.onnx"
    with path.open("wb") as stream:
        stream.truncate(LARGEST_FILE_BYTES + 1)  # sparse

    assert "2147483648 bytes, expected 1 to 2147483647 (2 GiB)" in refusal(path)


def test_the_runtimes_own_format_is_refused_by_its_suffix(tmp_path):
    path = onnx_models.write_identity(tmp_path / "model.ort", "FP32", [16])

    assert "ONNX Runtime's own format" in refusal(path)


def test_a_newer_ir_version_is_refused(tmp_path):
    model = sound_model(tmp_path / "model.onnx")
    model.ir_version = 99

    assert "IR version 99, expected 13 or lower" in refusal(save(tmp_path / "model.onnx", model))


@pytest.mark.parametrize("kind", ["input", "output"])
def test_complex_numbers_are_refused_with_the_tensors_name(tmp_path, kind):
    model = sound_model(tmp_path / "model.onnx")
    getattr(model.graph, kind)[0].type.tensor_type.elem_type = TensorProto.COMPLEX64

    message = refusal(save(tmp_path / "model.onnx", model))

    assert f"{kind} '{kind.upper()}0' has type COMPLEX64, which the protocol cannot carry" in message


def test_a_part_compiled_for_another_runtime_is_refused(tmp_path):
    node = helper.make_node(
        "EPContext", ["INPUT0"], ["OUTPUT0"], domain="com.microsoft", ep_cache_context="engine.bin"
    )
    path = hostile_models.write_unchecked(tmp_path / "model.onnx", [node], SHAPE, {"": 18, "com.microsoft": 1})

    assert "compiled for another runtime (operator EPContext)" in refusal(path)


def test_a_name_that_is_not_utf8_is_refused_printably(tmp_path):
    path = tmp_path / "model.onnx"
    sound_model(path)
    node = b"\x0a\x01x\x12\x01y\x22\x02\xff\xfe\x3a\x03\xff\x1b\n"  # input, output, op_type, domain
    graph = b"\x0a" + bytes([len(node)]) + node
    path.write_bytes(b"\x3a" + bytes([len(graph)]) + graph)

    message = refusal(path)

    assert message.isprintable()
    assert r"\\xff" in message


def test_a_domain_may_be_listed_as_long_as_no_operator_is_used_from_it(tmp_path):
    path = tmp_path / "model.onnx"
    model = sound_model(path)
    model.opset_import.append(helper.make_opsetid("org.pytorch.aten", 1))

    assert inspect_onnx(save(path, model)).opsets["org.pytorch.aten"] == 1


def test_an_operator_that_the_model_defines_itself_may_have_any_domain(tmp_path):
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("pkg.exporter", 1)]
    body = [helper.make_node("Neg", ["x"], ["y"])]
    function = helper.make_function("pkg.exporter", "Opposite", ["x"], ["y"], body, opsets)
    path = tmp_path / "model.onnx"
    model = sound_model(path)
    model.functions.append(function)
    model.opset_import.append(opsets[1])
    model.graph.node[0].op_type, model.graph.node[0].domain = "Opposite", "pkg.exporter"

    facts = inspect_onnx(save(path, model))

    assert facts.operators == ("Neg", "pkg.exporter.Opposite")
    assert facts.node_count == 2


@pytest.mark.parametrize("depth", [1, 12])
def test_an_operator_in_a_subgraph_is_seen(tmp_path, depth):
    node = helper.make_node("Spy", [], ["out"], domain="org.example.nowhere")
    for _ in range(depth):
        node = helper.make_node("If", ["c"], ["out"], then_branch=helper.make_graph([node], "g", [], []))
    path = hostile_models.write_unchecked(tmp_path / "model.onnx", [node], SHAPE)

    assert "'Spy' of 'org.example.nowhere'" in refusal(path)


def test_graphs_nested_beyond_the_parsers_limit_are_refused(tmp_path):
    content = b""
    for field in (b"\x32", b"\x2a", b"\x0a") * 2000:  # attribute.g, node.attribute, graph.node
        content = field + varint(len(content)) + content
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x3a" + varint(len(content)) + content)

    assert "is not an ONNX file, or it is damaged" in refusal(path)


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
