"""Real ONNX files against a NumPy computation of the same model: faithful ones pass, tampered ones do not."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from appliance.convert.comparison import HISTOGRAM_DECADES, Comparison, Difference
from appliance.convert.exported_model import Graph
from appliance.convert.precision import Form
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.samples import Sample
from appliance.convert.sources.batches import make_batches
from appliance.convert.task import Task
from appliance.convert.validation.tolerance_check import refuse_outside, worst_case
from appliance.convert.validation.tolerances import tolerance
from appliance.convert.validation.validation import ReferenceRuns, require_meaningful, validate
from tests.support.onnx_models import write_add_sub, write_mlp

WIDTHS = (16, 32, 32, 10)
FP32 = tolerance(Task.IMAGE_CLASSIFICATION, Form.FP32)


@pytest.fixture
def graph(tmp_path):
    return graph_of(write_mlp(tmp_path / "model.onnx", WIDTHS))


def graph_of(file, scale=1.0, sizes=(1, 2, 5)):
    """The model by NumPy in float64 from its own weights, and samples for it. scale: of the last weights."""
    weights = [numpy_helper.to_array(each).astype(np.float64) for each in onnx.load(file).graph.initializer]

    def reference(inputs):
        value = inputs["INPUT0"].astype(np.float64)
        for number, matrix in enumerate(weights):
            value = value @ matrix if number == len(weights) - 1 else np.maximum(value @ matrix, 0)
        return {"OUTPUT0": (value * scale).astype(np.float32)}

    random = np.random.default_rng(5)
    samples = [
        Sample(f"sample {number}", {"INPUT0": random.standard_normal((1, WIDTHS[0])).astype(np.float32)})
        for number in range(4)
    ]
    return Graph("model", file, reference, samples, make_batches(samples, sizes), {})


def tampered(file, change):
    """A copy beside the file with one weight of the last layer changed."""
    model = onnx.load(file)
    tensor = model.graph.initializer[-1]
    array = numpy_helper.to_array(tensor).copy()
    array[3, 7] = change(array[3, 7])
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    copy = file.with_name("tampered.onnx")
    onnx.save(model, copy)
    return copy


def compare(graph, file=None, **options):
    return validate(graph, file or graph.file, Task.IMAGE_CLASSIFICATION, lambda _: None, **options)


def refusal(call, *arguments):
    with pytest.raises(ConversionRefused) as refused:
        call(*arguments)
    return refused.value


def comparison(case="batch 1", **numbers):
    perfect = Difference(0.0, 0.0, 1.0, 1.0, (0,) * len(HISTOGRAM_DECADES))
    return Comparison("model", case, 1, {"x": (1, 3)}, replace(perfect, **numbers))


def test_a_faithful_file_stays_within_the_strict_bounds_at_every_batch_size(graph):
    comparisons = compare(graph)

    assert [each.batch_size for each in comparisons] == [1, 2, 5]
    assert [each.shapes for each in comparisons] == [{"INPUT0": (size, WIDTHS[0])} for size in (1, 2, 5)]
    assert all(each.difference.within(FP32) for each in comparisons)
    assert all(0 < each.difference.absolute_error < 1e-5 for each in comparisons)
    refuse_outside(comparisons, FP32)


def test_one_tampered_weight_is_refused_with_its_numbers(graph):
    comparisons = compare(graph, tampered(graph.file, lambda weight: weight + 0.5))

    refused = refusal(refuse_outside, comparisons, FP32)

    worst = worst_case(comparisons, FP32).difference
    assert refused.reason is Reason.OUT_OF_TOLERANCE
    assert f"{worst.relative_error:.9g}" in refused.message
    assert f"{worst.cosine:.9g}" in refused.message
    assert "expected at most 0.001" in refused.message


def test_a_weight_that_became_nan_is_refused_with_its_place(graph):
    refused = refusal(compare, graph, tampered(graph.file, lambda _: np.nan))

    assert refused.reason is Reason.OUT_OF_TOLERANCE
    assert refused.message.startswith("model, batch 1, 16: output 'OUTPUT0', element 7: found nan")


def test_every_variant_after_the_first_reuses_the_runs_of_the_source(graph):
    calls = []
    counted = replace(graph, reference=lambda inputs: calls.append(1) or graph.reference(inputs))
    runs = ReferenceRuns()

    require_meaningful(counted, runs)
    first, second = compare(counted, runs=runs), compare(counted, runs=runs)

    assert len(calls) == len(graph.batches)
    assert first == second


def test_the_runs_of_two_graphs_are_not_mixed_up(tmp_path, graph):
    runs = ReferenceRuns()
    other = replace(graph, name="decoder", reference=lambda inputs: {"OUTPUT0": inputs["INPUT0"]})

    runs.outputs(graph, 0)

    assert runs.outputs(other, 0)["OUTPUT0"] is graph.batches[0].inputs["INPUT0"]


def test_every_batch_is_told(graph):
    told = []

    validate(graph, graph.file, Task.TENSORS, told.append)

    assert told[1] == "comparing model with its source: batch 2, 16 (2 of 3)"


def test_a_file_that_refuses_a_batch_of_the_source_is_refused_with_the_batch(graph):
    model = onnx.load(graph.file)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, graph.file)

    refused = refusal(compare, graph)

    assert refused.reason is Reason.OUT_OF_TOLERANCE
    assert refused.message.startswith("model, batch 2, 16: the source computes this, ONNX Runtime does not: ")


def test_a_file_that_is_no_model_is_a_failed_export(graph):
    graph.file.write_bytes(b"not a model")

    assert refusal(compare, graph).reason is Reason.EXPORT_FAILED


def test_a_file_with_another_output_is_refused(tmp_path, graph):
    model = onnx.load(graph.file)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"
    onnx.save(model, graph.file)

    assert refusal(compare, graph).message == "model, batch 1, 16: the outputs: found other, expected OUTPUT0"


def test_integers_are_compared_exactly(tmp_path):
    file = write_add_sub(tmp_path / "model.onnx")
    inputs = {name: np.arange(16, dtype=np.int32)[None] for name in ("INPUT0", "INPUT1")}

    def reference(inputs):
        total = inputs["INPUT0"] + inputs["INPUT1"]
        return {"OUTPUT0": total, "OUTPUT1": inputs["INPUT0"] - inputs["INPUT1"] + (total > 28)}

    samples = [Sample("one", inputs)]
    graph = Graph("model", file, reference, samples, make_batches(samples, (1,)), {})
    (found,) = validate(graph, file, Task.TENSORS, lambda _: None)

    assert found.difference.agreement == 15 / 16
    assert found.difference.cosine == 15 / 16


def test_a_source_of_all_but_zeros_proves_nothing(graph):
    refused = refusal(require_meaningful, graph_of(graph.file, scale=1e-20))

    assert refused.reason is Reason.VACUOUS
    assert "expected at least 1e-06" in refused.message


def test_a_source_that_answers_is_meaningful(graph):
    require_meaningful(graph)
    require_meaningful(graph_of(graph.file, scale=1e-3))


def test_a_source_of_integers_alone_is_meaningful(graph):
    require_meaningful(replace(graph, reference=lambda _: {"OUTPUT0": np.zeros(3, np.int64)}))


@pytest.mark.parametrize("scale", [np.nan, np.inf])
def test_a_source_of_nan_or_infinities_alone_is_refused(graph, scale):
    refused = refusal(require_meaningful, graph_of(graph.file, scale=scale))

    assert refused.reason is Reason.NAN_WEIGHTS
    assert "10 of 10 elements of 'OUTPUT0'" in refused.message


def test_the_refusal_fits_a_terminal_and_names_the_worst_case():
    long = "batch 16, 3x1024x2048, and a name of a case that goes on for quite a while"
    cases = [comparison("batch 1", relative_error=2e-3), comparison(long, agreement=0.5), comparison("batch 2")]

    refused = refusal(refuse_outside, cases, FP32)

    lines = refused.message.splitlines()
    assert max(map(len, lines)) <= 73
    assert "2 of 3 cases" in " ".join(lines)
    assert long in " ".join(lines)
    assert lines[-1].split() == ["agreement", "0.5", "expected", "at", "least", "0.999"]


def test_a_value_that_misses_its_bound_never_reads_as_the_bound():
    refused = refusal(refuse_outside, [comparison(cosine=0.99989999)], FP32)

    assert "0.99989999 " in refused.message


def test_nothing_compared_is_not_passed():
    assert refusal(refuse_outside, [], FP32).reason is Reason.OUT_OF_TOLERANCE


@pytest.mark.parametrize("number", ["relative_error", "cosine", "agreement"])
def test_nan_is_outside_every_bound_and_the_worst_of_all(number):
    cases = [comparison("bad", relative_error=1e6), comparison("nan", **{number: float("nan")})]

    assert worst_case(cases, FP32).case == "nan"
    assert refusal(refuse_outside, cases, FP32).reason is Reason.OUT_OF_TOLERANCE


def test_an_error_that_nothing_bounds_does_not_make_a_case_the_worst():
    unbounded = tolerance(Task.IMAGE_CLASSIFICATION, Form.INT8_CPU)
    cases = [comparison("large", relative_error=float("inf")), comparison("wrong", agreement=0.96)]

    assert worst_case(cases, unbounded).case == "wrong"


def test_no_form_is_bound_more_strictly_than_a_more_precise_one():
    ordered = [tolerance(task, form) for task in Task for form in (Form.FP32, Form.FP16, Form.INT8_CPU)]
    triples = [ordered[start : start + 3] for start in range(0, len(ordered), 3)]

    assert len(triples) == len(Task)
    for triple in triples:
        for precise, coarse in pairwise(triple):
            assert coarse.relative_error >= precise.relative_error
            assert coarse.cosine <= precise.cosine
            assert coarse.agreement <= precise.agreement


def test_all_eight_bit_forms_of_a_task_share_one_bound():
    for task in Task:
        bounds = {tolerance(task, form) for form in (Form.INT8_CPU, Form.INT8_DYNAMIC, Form.INT8_TENSORRT)}

        assert len(bounds) == 1


def test_a_classifier_that_loses_its_decisions_is_outside_in_eight_bits():
    lost = comparison(relative_error=0.3, cosine=0.99, agreement=0.94)
    kept = comparison(relative_error=0.3, cosine=0.9986, agreement=0.98)

    assert not lost.difference.within(tolerance(Task.IMAGE_CLASSIFICATION, Form.INT8_CPU))
    assert kept.difference.within(tolerance(Task.IMAGE_CLASSIFICATION, Form.INT8_CPU))
