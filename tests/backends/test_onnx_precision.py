"""In which precision a file computes, told without reading its weights."""

from pathlib import Path

import pytest
from onnx import TensorProto, helper, load, numpy_helper, save

from appliance.backends.onnx_precision import onnx_precision
from appliance.errors import InvalidInput
from tests.support.onnx_models import write_cnn, write_identity


@pytest.fixture
def cnn(tmp_path: Path) -> Path:
    return write_cnn(tmp_path / "model.onnx")


def test_plain_graphs_are_fp32(cnn: Path, tmp_path: Path) -> None:
    assert onnx_precision(cnn) == "fp32"
    assert onnx_precision(write_identity(tmp_path / "none.onnx", "FP16", [4])) == "fp32"


@pytest.mark.parametrize(("datatype", "expected"), [("float16", "fp16"), ("float64", "fp64")])
def test_the_type_of_most_weights_decides(cnn: Path, datatype: str, expected: str) -> None:
    model = load(cnn)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.size > 1000:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(datatype), tensor.name))
    save(model, cnn)

    assert onnx_precision(cnn) == expected


def test_a_quantised_graph_is_int8(cnn: Path) -> None:
    model = load(cnn)
    model.graph.node.append(helper.make_node("DequantizeLinear", ["a", "b"], ["c"]))
    save(model, cnn)

    assert onnx_precision(cnn) == "int8"


def test_weights_in_another_file_count_as_well(cnn: Path) -> None:
    model = load(cnn)
    save(model, cnn, save_as_external_data=True, location="w", size_threshold=0)

    assert onnx_precision(cnn) == "fp32"


def test_dimensions_may_be_written_in_both_of_protobufs_ways(tmp_path: Path) -> None:
    """Field 1, not packed: 08 <varint>."""
    tensor = bytes([0x08, 3, 0x08, 5, 0x10, TensorProto.FLOAT16])
    graph = bytes([0x2A, len(tensor)]) + tensor
    (tmp_path / "m").write_bytes(bytes([0x3A, len(graph)]) + graph)

    assert onnx_precision(tmp_path / "m") == "fp16"


@pytest.mark.parametrize("content", [b"\xff" * 64, b"\x3a\x7f", b"\x3b", b"\x3a\xff\xff\xff\xff\x7f\x00", b"\x08"])
def test_what_is_no_model_is_unknown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m").write_bytes(content)

    assert onnx_precision(tmp_path / "m") == "unknown"


def test_every_beginning_of_a_file_is_answered(cnn: Path, tmp_path: Path) -> None:
    content = cnn.read_bytes()
    for length in (*range(400), len(content) // 2, len(content) - 1):
        (tmp_path / "m").write_bytes(content[:length])

        assert onnx_precision(tmp_path / "m") in {"unknown", "fp32"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none.onnx cannot be read: No such file"):
        onnx_precision(tmp_path / "none.onnx")
