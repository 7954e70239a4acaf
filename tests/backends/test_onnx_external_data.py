import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from appliance.backends.onnx_inspection import inspect_onnx
from appliance.errors import InvalidInput
from tests.support import onnx_models


def refusal(model_file: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        inspect_onnx(model_file)
    return str(caught.value)


def save(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def sound_model(path: Path) -> onnx.ModelProto:
    return onnx.load(onnx_models.write_identity(path, "FP32", [16]))


def external(location: str, **more: str) -> TensorProto:
    tensor = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[16], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def place_initializer(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.initializer.append(tensor)


def place_sparse_values(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().values.CopyFrom(tensor)


def place_sparse_indices(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.sparse_initializer.add().indices.CopyFrom(tensor)


def place_constant(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["constant"], value=tensor))


def place_tensor_list(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node[0].attribute.add(name="list", type=onnx.AttributeProto.TENSORS).tensors.append(tensor)


def place_sparse_attribute(model: onnx.ModelProto, tensor: TensorProto) -> None:
    attribute = model.graph.node[0].attribute.add(name="s", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.values.CopyFrom(tensor)


def place_sparse_list(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node[0].attribute.add(name="s").sparse_tensors.add().indices.CopyFrom(tensor)


def place_attribute_of_undeclared_type(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.graph.node[0].attribute.add(name="t", type=onnx.AttributeProto.INT).t.CopyFrom(tensor)


def place_subgraph(model: onnx.ModelProto, tensor: TensorProto) -> None:
    body = helper.make_graph([helper.make_node("Constant", [], ["inner"], value=tensor)], "body", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=body))


def place_graph_list(model: onnx.ModelProto, tensor: TensorProto) -> None:
    body = helper.make_graph([], "body", [], [], [tensor])
    model.graph.node[0].attribute.add(name="graphs", type=onnx.AttributeProto.GRAPHS).graphs.append(body)


def place_function(model: onnx.ModelProto, tensor: TensorProto) -> None:
    body = [helper.make_node("Constant", [], ["y"], value=tensor)]
    model.functions.append(helper.make_function("local", "Weights", [], ["y"], body, [helper.make_opsetid("", 18)]))


def place_function_default(model: onnx.ModelProto, tensor: TensorProto) -> None:
    function = helper.make_function("local", "F", [], [], [], [])
    function.attribute_proto.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    model.functions.append(function)


def place_training(model: onnx.ModelProto, tensor: TensorProto) -> None:
    model.training_info.add().algorithm.initializer.append(tensor)


PLACES = [value for name, value in sorted(globals().items()) if name.startswith("place_")]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_external_data_is_found_wherever_a_tensor_can_hide(tmp_path, place):
    path = tmp_path / "model.onnx"
    model = sound_model(path)
    place(model, external("../secret.bin"))

    assert "'../secret.bin': which leaves the directory" in refusal(save(path, model))


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "'': expected a file beside the model"),
        (".", "'.': expected a file beside the model"),
        ("weights/../../w.bin", "which leaves the directory"),
        ("missing.bin", "'missing.bin': which does not exist"),
        ("folder", "'folder': which is not a regular file"),
        ("pipe", "'pipe': which is not a regular file"),
        ("link.bin", "'link.bin': a symbolic link, expected a real file"),
        ("linked-folder/w.bin", "a symbolic link, expected a real file"),
        ("..\\w.bin", "expected a plain relative path"),
        ("w.bin\x00", "expected a plain relative path"),
        ("*/_ORT_NATIVE_ENDIAN_MEM_ADDR_/*", "a raw memory address"),
        ("w.bin/inner", "Not a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_an_unsafe_place_of_weights_is_refused(tmp_path, location, words):
    directory = tmp_path / "package"
    (directory / "folder").mkdir(parents=True)
    (directory / "w.bin").write_bytes(bytes(64))
    (directory / "link.bin").symlink_to("w.bin")
    (directory / "linked-folder").symlink_to(".")
    os.mkfifo(directory / "pipe")
    model = sound_model(directory / "model.onnx")
    model.graph.initializer.append(external(location))

    message = refusal(save(directory / "model.onnx", model))

    assert words in message
    assert "tensor 'weights'" in message


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"offset": "1", "length": "64"}, "ends at byte 65 of w.bin, which has 64 bytes"),
        ({"offset": "65"}, "ends at byte 65 of w.bin, which has 64 bytes"),
        ({"offset": "-1"}, "has offset '-1' in its external data, expected a number of bytes"),
        ({"length": "9" * 40}, "expected a number of bytes"),
        ({"length": "\u0663"}, "expected a number of bytes"),
    ],
)
def test_weights_must_lie_within_their_file(tmp_path, more, words):
    (tmp_path / "w.bin").write_bytes(bytes(64))
    model = sound_model(tmp_path / "model.onnx")
    model.graph.initializer.append(external("w.bin", **more))

    assert words in refusal(save(tmp_path / "model.onnx", model))


def test_a_place_given_twice_is_refused(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(64))
    tensor = external("w.bin")
    tensor.external_data.add(key="location", value="/etc/passwd")
    model = sound_model(tmp_path / "model.onnx")
    model.graph.initializer.append(tensor)

    assert "twice" in refusal(save(tmp_path / "model.onnx", model))


def test_a_place_is_checked_even_where_the_tensor_does_not_say_external(tmp_path):
    tensor = external("/etc/passwd")
    tensor.data_location = TensorProto.DEFAULT
    model = sound_model(tmp_path / "model.onnx")
    model.graph.initializer.append(tensor)

    assert "an absolute path" in refusal(save(tmp_path / "model.onnx", model))


def test_weights_beside_the_model_are_accepted_and_listed_once(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(bytes(128))
    model = sound_model(tmp_path / "model.onnx")
    model.graph.initializer.append(external("data/w.bin", offset="0", length="64"))
    model.graph.initializer.append(external("./data/w.bin", offset="64", length="64"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, "f4"), "inline"))

    assert inspect_onnx(save(tmp_path / "model.onnx", model)).external_files == ("data/w.bin",)
