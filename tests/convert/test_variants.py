"""Making, measuring and choosing forms of real models."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from appliance.backends.onnxruntime import open_session
from appliance.convert.comparison import Comparison, Difference, Tolerance
from appliance.convert.exported_model import ExportedModel, Graph
from appliance.convert.forms.choice import CLEARLY_QUICKER, latency_ratio
from appliance.convert.forms.variants import forms_for, make_variants
from appliance.convert.precision import Form, Precision, Target
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.request import ConversionRequest
from appliance.convert.samples import Batch
from appliance.convert.task import Task
from appliance.model.engine import ShapeRange
from appliance.model.identity import ModelName, ModelVersion
from tests.convert.forms import DIGITS, digit_images, digit_samples, random_samples
from tests.support.onnx_models import write_cnn, write_identity

TOLERANCES = {form: Tolerance(1e-3 if form is Form.FP32 else 1, 0.99, 0.97) for form in Form}
ALL = (Precision.FP32, Precision.FP16, Precision.INT8)
INT8_FORMS = [Form.INT8_DYNAMIC, Form.INT8_CPU, Form.INT8_TENSORRT]


def graph_of(file, batches, samples, name="model"):
    session = open_session(file)
    outputs = [value.name for value in session.get_outputs()]

    def reference(inputs):
        return dict(zip(outputs, session.run(None, inputs), strict=True))

    profiles = {name: ShapeRange(shape, shape, shape) for name, shape in batches[0].shapes.items()}
    return Graph(name, file, reference, samples, batches, profiles)


def digits_graph(name="model"):
    batches = [Batch(f"batch {size}", size, {"pixel_values": digit_images()[:size]}) for size in (1, 8)]
    return graph_of(DIGITS, batches, digit_samples(), name)


def cnn_graph(folder):
    samples = random_samples(8, 3, 64, 64)
    rows = np.concatenate([sample.inputs["INPUT0"] for sample in samples])
    return graph_of(write_cnn(folder / "cnn.onnx"), [Batch("batch 4", 4, {"INPUT0": rows[:4]})], samples)


def compare(graph, file):
    session = open_session(file)
    return [_comparison(graph, batch, session) for batch in graph.batches]


def _comparison(graph, batch, session):
    (expected,) = graph.reference(batch.inputs).values()
    (found,) = session.run(None, batch.inputs)
    cosine = float((expected * found).sum() / np.sqrt((expected**2).sum() * (found**2).sum()))
    error = float(np.abs(expected - found).max())
    agreement = float(np.mean(expected.argmax(-1) == found.argmax(-1)))
    difference = Difference(error, error / float(np.abs(expected).max()), cosine, agreement, ())
    return Comparison(graph.name, batch.case, batch.size, batch.shapes, difference)


def made(folder, graphs, *, calibration=None, precisions=ALL, target=Target.CPU, compare=compare, told=None):
    exported = ExportedModel(Task.TENSORS, "test", graphs, (), "", True, {}, (), {})
    request = ConversionRequest(
        "source", folder / "out", ModelName("test"), ModelVersion(1), "MIT", precisions=precisions, target=target
    )
    if calibration is None:
        calibration = {graph.name: graph.samples for graph in graphs}
    tell = (told if told is not None else []).append
    return make_variants(exported, request, calibration, folder, compare, TOLERANCES.__getitem__, tell)


def by_form(variants):
    return {variant.form: variant for variant in variants}


@pytest.mark.parametrize(
    ("precisions", "forms"),
    [
        ((Precision.FP32,), []),
        ((Precision.INT8, Precision.FP16), [Form.FP16, *INT8_FORMS]),
        ((Precision.INT8, Precision.INT8), INT8_FORMS),
    ],
)
def test_precisions_stand_for_forms(precisions, forms):
    assert forms_for(precisions) == forms


def test_every_form_of_a_real_model_is_written_compared_and_measured(tmp_path):
    variants = made(tmp_path, [digits_graph()])

    assert [variant.form for variant in variants] == [Form.FP32, Form.FP16, *INT8_FORMS]
    assert all(variant.within_tolerance for variant in variants)
    assert all([latency.batch_size for latency in variant.latencies] == [1, 8] for variant in variants)
    assert [variant.size_bytes for variant in variants[1:]] == [
        (tmp_path / f"model-{variant.form.value}.onnx").stat().st_size for variant in variants[1:]
    ]
    assert sum(variant.chosen for variant in variants) == 1


def test_fp32_stays_where_it_is_and_nothing_but_the_forms_is_left_behind(tmp_path):
    variants = made(tmp_path, [digits_graph()])

    assert variants[0].graphs == {"model": DIGITS}
    assert {path.name for path in tmp_path.iterdir()} == {f"model-{form.value}.onnx" for form in Form} - {
        "model-fp32.onnx"
    }


def test_fp32_alone_writes_nothing(tmp_path):
    (variant,) = made(tmp_path, [digits_graph()], precisions=(Precision.FP32,))

    assert variant.chosen
    assert list(tmp_path.iterdir()) == []


def test_without_calibration_data_the_static_forms_say_so_and_the_dynamic_one_is_made(tmp_path):
    variants = by_form(made(tmp_path, [digits_graph()], calibration={}, precisions=(Precision.INT8,)))

    for form in (Form.INT8_CPU, Form.INT8_TENSORRT):
        assert variants[form].verdict.startswith("static INT8 needs calibration data")
        assert (variants[form].graphs, variants[form].size_bytes, variants[form].latencies) == ({}, 0, ())
    assert variants[Form.INT8_DYNAMIC].graphs
    assert not variants[Form.INT8_DYNAMIC].verdict.startswith("static")


def test_a_precision_of_which_no_form_can_be_written_is_visible_as_such(tmp_path):
    rows = Batch("batch 2", 2, {"INPUT0": np.float32([[1, 2, 3, 5], [4, 5, 6, 8]])})
    graph = graph_of(write_identity(tmp_path / "same.onnx", "FP32", [4]), [rows], random_samples(2, 4))
    variants = by_form(made(tmp_path, [graph], precisions=(Precision.INT8,)))

    assert variants[Form.FP32].chosen
    assert all("nothing to quantise" in variants[form].verdict for form in INT8_FORMS)


def test_a_comparison_that_fails_costs_one_form_only(tmp_path):
    def picky(graph, file):
        if "dynamic" in file.name:
            raise ConversionRefused(Reason.OUT_OF_TOLERANCE, "output 'y' has NaN, expected none", hint="")
        if "fp16" in file.name:
            raise RuntimeError("the runtime gave up")
        return compare(graph, file)

    variants = by_form(made(tmp_path, [digits_graph()], compare=picky))

    assert variants[Form.INT8_DYNAMIC].verdict == "output 'y' has NaN, expected none"
    assert variants[Form.FP16].verdict == "it fails: the runtime gave up"
    assert variants[Form.FP16].latencies == variants[Form.INT8_DYNAMIC].latencies == ()
    assert variants[Form.INT8_CPU].latencies


def test_a_full_disk_ends_the_conversion(tmp_path):
    def full(graph, file):
        if file != DIGITS:
            raise OSError(28, "No space left on device")
        return compare(graph, file)

    with pytest.raises(OSError, match="No space left"):
        made(tmp_path, [digits_graph()], compare=full)


def test_fp32_that_cannot_be_compared_ends_the_conversion(tmp_path):
    def refusing(graph, file):
        raise ConversionRefused(Reason.VACUOUS, "the reference is zero", hint="")

    with pytest.raises(ConversionRefused, match="the reference is zero"):
        made(tmp_path, [digits_graph()], compare=refusing)


def test_on_the_cpu_what_was_measured_decides(tmp_path):
    """INT8 takes about a third of the time of FP32 here, but that is this machine's word."""
    variants = by_form(made(tmp_path, [cnn_graph(tmp_path)], precisions=(Precision.INT8,)))
    clearly_quicker = latency_ratio(variants[Form.INT8_CPU], variants[Form.FP32]) <= CLEARLY_QUICKER

    assert variants[Form.INT8_CPU].within_tolerance
    assert bool(variants[Form.INT8_CPU].verdict) is not clearly_quicker
    assert variants[Form.INT8_TENSORRT].verdict == "for tensorrt, not for cpu"


def test_a_model_of_two_graphs_has_both_in_every_form_and_takes_the_time_of_both(tmp_path):
    one = by_form(made(tmp_path, [digits_graph()], precisions=(Precision.FP16,)))[Form.FP16]
    graphs = [digits_graph("encoder"), digits_graph("decoder")]
    two = by_form(made(tmp_path, graphs, precisions=(Precision.FP16,)))[Form.FP16]

    assert set(two.graphs) == {"encoder", "decoder"}
    assert two.size_bytes == 2 * one.size_bytes
    assert [comparison.graph for comparison in two.comparisons] == ["encoder"] * 2 + ["decoder"] * 2
    assert [latency.batch_size for latency in two.latencies] == [1, 8]


def test_a_form_that_fails_for_one_graph_is_there_for_none(tmp_path):
    graphs = [digits_graph("encoder"), digits_graph("decoder")]
    calibration = {"encoder": graphs[0].samples}
    variants = by_form(made(tmp_path, graphs, calibration=calibration, precisions=(Precision.INT8,)))

    assert variants[Form.INT8_CPU].graphs == {}
    assert {Path(path).name for path in tmp_path.iterdir()} == {
        "encoder-int8-dynamic.onnx",
        "decoder-int8-dynamic.onnx",
    }


def test_the_person_is_told_what_happens(tmp_path):
    told = []
    made(tmp_path, [digits_graph()], precisions=(Precision.FP16,), told=told)

    assert told == [
        "fp32: comparing with the source",
        "fp16: writing and comparing with the source",
        "measuring latencies",
    ]


def test_for_tensorrt_the_forms_meant_for_it_carry_what_its_parser_says(tmp_path):
    """Accepted where TensorRT-RTX is installed; else how to install it."""
    graph = digits_graph()
    wide = {"pixel_values": ShapeRange((1, 1, 32, 32), (4, 1, 32, 32), (8, 1, 32, 32))}
    graph = dataclasses.replace(graph, profiles=wide)
    variants = by_form(made(tmp_path, [graph], target=Target.TENSORRT))

    for form in (Form.FP32, Form.FP16, Form.INT8_TENSORRT):
        assert variants[form].parser.startswith(("accepted: TensorRT-RTX", "not installed: "))
    assert variants[Form.INT8_CPU].parser == variants[Form.INT8_DYNAMIC].parser == ""
    assert variants[Form.INT8_TENSORRT].chosen
