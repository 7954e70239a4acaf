"""Plain ONNX files as sources: what is done to them, what they are compared with, and which are refused."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from appliance.backends.onnxruntime import open_session
from appliance.backends.trial import trial_load
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Array
from appliance.convert.sources.graph_file import read_signature
from appliance.convert.sources.onnx_source import export_onnx
from appliance.convert.task import Task
from appliance.errors import InvalidInput
from appliance.model.config import ModelConfig
from tests.convert.source_requests import request_for
from tests.support import hostile_models, onnx_models

FLOAT = TensorProto.FLOAT
WEIGHTS = np.random.default_rng(5).standard_normal((4, 3)).astype(np.float32)
Dims = Sequence[int | str]


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Dims],
    outputs: dict[str, Dims],
    weights: dict[str, Array],
    *,
    opset: int = 18,
    ir_version: int = 10,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=ir_version), path)
    return path


def dense(path: Path, batch: int | str = "N", *, opset: int = 18, ir_version: int = 10) -> Path:
    """Write y = x w, x [batch, 4], y [batch, 3]."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    shapes: tuple[dict[str, Dims], dict[str, Dims]] = {"x": (batch, 4)}, {"y": (batch, 3)}
    return save(path, [node], *shapes, {"w": WEIGHTS}, opset=opset, ir_version=ir_version)


def export(
    path: Path, *, samples: Path | None = None, max_batch_size: int = 8, task: Task | None = None, out: str = "graphs"
) -> ExportedModel:
    folder = path.parent / out
    folder.mkdir()
    request = request_for(path, samples=samples, max_batch_size=max_batch_size, task=task)
    return export_onnx(path, folder, request, lambda _: None)


def the_graph(path: Path, *, max_batch_size: int = 8) -> Graph:
    (found,) = export(path, max_batch_size=max_batch_size).graphs
    return found


def answer(file: Path, inputs: dict[str, Array]) -> Array:
    (found,) = open_session(file).run(None, inputs)
    return np.asarray(found)


def test_a_graph_with_a_free_batch_axis_is_compared_in_three_sizes_until_each_sample_was_used(tmp_path: Path) -> None:
    graph = the_graph(dense(tmp_path / "dense.onnx"))

    assert [batch.size for batch in graph.batches] == [1, 2, 8, 8]
    rows = np.concatenate([batch.inputs["x"] for batch in graph.batches])
    assert all(any(np.array_equal(row, sample.inputs["x"][0]) for row in rows) for sample in graph.samples)
    assert graph.batched
    assert (graph.profiles["x"].min, graph.profiles["x"].max) == ((1, 4), (8, 4))


def test_the_task_is_tensors_unless_the_person_names_one(tmp_path: Path) -> None:
    path = dense(tmp_path / "dense.onnx")

    assert export(path).task is Task.TENSORS
    assert export(path, task=Task.TEXT_CLASSIFICATION, out="other").task is Task.TEXT_CLASSIFICATION


def test_a_batch_axis_fixed_at_one_is_freed_where_rows_come_out_alike(tmp_path: Path) -> None:
    graph = the_graph(dense(tmp_path / "dense.onnx", 1))
    rows = np.random.default_rng(6).random((5, 4), dtype=np.float32)

    assert graph.batched
    assert read_signature(graph.file).inputs["x"] == ("batch", 4)
    np.testing.assert_allclose(answer(graph.file, {"x": rows}), rows @ WEIGHTS, rtol=1e-5)
    np.testing.assert_allclose(graph.reference({"x": rows})["y"], rows @ WEIGHTS, rtol=1e-5)


def test_a_batch_axis_fixed_at_one_stays_where_the_graph_counts_on_it(tmp_path: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    weights = {"shape": np.array([1, 4]), "w": WEIGHTS}
    graph = the_graph(save(tmp_path / "m.onnx", nodes, {"x": (1, 2, 2)}, {"y": (1, 3)}, weights))

    assert not graph.batched
    assert read_signature(graph.file).inputs["x"] == (1, 2, 2)
    assert {batch.shapes["x"] for batch in graph.batches} == {(1, 2, 2)}


def test_a_batch_axis_fixed_at_one_stays_where_rows_would_mix(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=0)]
    nodes.append(helper.make_node("Add", ["y", "m"], ["z"]))
    graph = the_graph(save(tmp_path / "m.onnx", nodes, {"x": (1, 4)}, {"z": (1, 3)}, {"w": WEIGHTS}))

    assert not graph.batched
    assert read_signature(graph.file).inputs["x"] == (1, 4)


def test_a_batch_axis_fixed_at_one_stays_if_no_batches_are_wanted(tmp_path: Path) -> None:
    graph = the_graph(dense(tmp_path / "dense.onnx", 1), max_batch_size=1)

    assert read_signature(graph.file).inputs["x"] == (1, 4)


def test_rows_that_depend_on_each_other_are_never_joined(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["y"], axis=0)]
    graph = the_graph(save(tmp_path / "m.onnx", nodes, {"x": ("N", 4)}, {"y": ("N", 3)}, {"w": WEIGHTS}))

    assert not graph.batched
    assert {batch.shapes["x"] for batch in graph.batches} == {(1, 4)}


def test_an_answer_that_has_one_row_for_any_number_is_no_batch(tmp_path: Path) -> None:
    weights = {"zero": np.zeros(1, np.float32), "axes": np.array([0]), "w": WEIGHTS[:1]}
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["z"]),
        helper.make_node("ReduceSum", ["z", "axes"], ["s"], keepdims=1),
        helper.make_node("Add", ["s", "w"], ["y"]),
    ]
    graph = the_graph(save(tmp_path / "m.onnx", nodes, {"x": ("N", 3)}, {"y": ("N", 3)}, weights))

    assert not graph.batched


def test_rows_are_joined_though_the_exporter_gave_the_axis_two_names(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = the_graph(save(tmp_path / "m.onnx", [node], {"x": ("N", 4)}, {"y": ("M", 3)}, {"w": WEIGHTS}))

    assert graph.batched


def test_an_axis_fixed_at_four_takes_four_rows(tmp_path: Path) -> None:
    graph = the_graph(dense(tmp_path / "dense.onnx", 4))

    assert not graph.batched
    assert {batch.shapes["x"] for batch in graph.batches} == {(4, 4)}
    assert graph.profiles["x"].max == (4, 4)


def test_an_input_without_axes_is_taken(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Mul", ["m", "s"], ["y"])]
    graph = the_graph(save(tmp_path / "m.onnx", nodes, {"x": ("N", 4), "s": ()}, {"y": ("N", 3)}, {"w": WEIGHTS}))

    assert not graph.batched
    assert graph.samples[0].inputs["s"].shape == ()
    assert graph.profiles["s"].max == ()


def test_a_weight_that_may_be_replaced_is_no_input_of_a_sample(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    inputs: dict[str, Dims] = {"x": ("N", 4), "w": (4, 3)}
    graph = the_graph(save(tmp_path / "m.onnx", [node], inputs, {"y": ("N", 3)}, {"w": WEIGHTS}))

    assert set(graph.samples[0].inputs) == {"x"}
    assert graph.batched


@pytest.mark.parametrize(("opset", "ir_version"), [(26, 14), (28, 13), (28, 14)])
def test_a_file_too_new_for_a_box_is_lowered_and_compared_with_itself(
    tmp_path: Path, opset: int, ir_version: int
) -> None:
    graph = the_graph(dense(tmp_path / "dense.onnx", opset=opset, ir_version=ir_version))
    rows = np.random.default_rng(6).random((5, 4), dtype=np.float32)

    np.testing.assert_allclose(answer(graph.file, {"x": rows}), rows @ WEIGHTS, rtol=1e-5)
    np.testing.assert_allclose(graph.reference({"x": rows})["y"], rows @ WEIGHTS, rtol=1e-5)


def test_weights_beside_the_file_are_gathered_into_it(tmp_path: Path) -> None:
    path = dense(tmp_path / "dense.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    graph = the_graph(path)

    assert (tmp_path / "weights.bin").exists()
    assert [file.name for file in graph.file.parent.iterdir()] == ["model.onnx"]
    rows = np.eye(4, dtype=np.float32)
    np.testing.assert_allclose(answer(graph.file, {"x": rows}), WEIGHTS, rtol=1e-5)


def test_two_exports_give_the_same_bytes_without_notes_of_the_exporter(tmp_path: Path) -> None:
    path = onnx_models.write_cnn(tmp_path / "cnn.onnx")
    model = onnx.load(path)
    model.graph.node[0].doc_string = "File /home/somebody/train.py, line 7"
    model.metadata_props.add(key="made-in", value="/home/somebody")
    onnx.save(model, path)

    (first,), (second,) = export(path, out="first").graphs, export(path, out="second").graphs

    assert first.file.read_bytes() == second.file.read_bytes()
    assert b"somebody" not in first.file.read_bytes()


def test_a_person_s_rows_are_used(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    rows = np.random.default_rng(6).random((3, 4), dtype=np.float32)
    np.savetxt(tmp_path / "samples" / "rows.csv", rows, delimiter=",")
    exported = export(dense(tmp_path / "dense.onnx"), samples=tmp_path / "samples")

    assert exported.samples_are_real
    found = np.concatenate([sample.inputs["x"] for sample in exported.graphs[0].samples])
    np.testing.assert_allclose(found, rows, rtol=1e-6)


def test_a_source_that_answers_by_chance_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("RandomUniformLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": ("N", 4)}, {"y": ("N", 4)}, {})

    with pytest.raises(ConversionRefused, match="answers the same input in two ways") as refused:
        export(path)

    assert refused.value.reason is Reason.UNSUPPORTED_ARCHITECTURE


@pytest.mark.parametrize(
    "write",
    [
        hostile_models.write_external_data_outside,
        hostile_models.write_external_data_absolute,
        hostile_models.write_external_data_in_memory,
        hostile_models.write_unknown_operator,
        hostile_models.write_unknown_domain,
        hostile_models.write_future_opset,
        hostile_models.write_cloud_operator,
        hostile_models.write_truncated,
        hostile_models.write_random_bytes,
    ],
)
def test_a_hostile_file_is_refused_with_the_box_s_own_reason(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path / "hostile.onnx")
    with pytest.raises(InvalidInput) as on_the_box:
        trial_load(path, ModelConfig(), memory_bytes=2 << 30, timeout_s=60)

    with pytest.raises(ConversionRefused) as refused:
        export(path)

    assert refused.value.reason is Reason.EXPORT_FAILED
    assert refused.value.message == on_the_box.value.message
    assert not list((tmp_path / "graphs").iterdir())
