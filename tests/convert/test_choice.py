"""Which form is chosen, and what the others are told."""

import math
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from appliance.convert.comparison import Comparison, Difference, Tolerance
from appliance.convert.forms.choice import CLEARLY_QUICKER, FORMS_FOR, choose, latency_ratio, refuse_unusable
from appliance.convert.precision import Form, Target
from appliance.convert.refusal import ConversionRefused, Reason
from appliance.convert.variant import Latency, Variant

TOLERANCE = Tolerance(relative_error=0.1, cosine=0.99, agreement=0.97)
GOOD = Difference(1e-3, 1e-3, 0.9999, 1.0, ())


def variant(form, size=100, ms=(1.0, 8.0), difference=GOOD, verdict=""):
    comparisons = (Comparison("model", "batch 1", 1, {}, difference),) if difference else ()
    latencies = tuple(Latency(batch, each, 10) for batch, each in zip((1, 8), ms, strict=False))
    return Variant(form, {"model": Path("m.onnx")}, size, comparisons, TOLERANCE, latencies, verdict=verdict)


def chosen(variants):
    names = [each.form for each in variants if each.chosen]
    assert len(names) == 1
    return names[0]


def verdicts(variants):
    return {each.form: each.verdict for each in variants}


FP32 = variant(Form.FP32)


def test_on_the_cpu_the_quickest_form_wins_whatever_the_order():
    others = [
        variant(Form.FP16, ms=(1.4, 11.2)),
        variant(Form.INT8_DYNAMIC, ms=(0.8, 6.4)),
        variant(Form.INT8_CPU, ms=(0.5, 4.0)),
    ]

    for order in permutations(others):
        assert chosen(choose([FP32, *order], Target.CPU)) is Form.INT8_CPU


def test_a_usable_form_that_is_not_the_quickest_has_no_verdict():
    result = choose(
        [FP32, variant(Form.INT8_DYNAMIC, ms=(0.8, 6.4)), variant(Form.INT8_CPU, ms=(0.5, 4.0))], Target.CPU
    )

    assert verdicts(result) == {Form.FP32: "", Form.INT8_DYNAMIC: "", Form.INT8_CPU: ""}


def test_a_slower_form_is_told_by_how_much():
    result = choose([FP32, variant(Form.FP16, ms=(1.4, 11.2))], Target.CPU)

    assert chosen(result) is Form.FP32
    assert verdicts(result)[Form.FP16] == "slower than fp32 (x1.40)"


@pytest.mark.parametrize(("ratio", "wins"), [(CLEARLY_QUICKER - 0.01, True), (CLEARLY_QUICKER + 0.01, False)])
def test_a_form_must_be_clearly_quicker_than_fp32(ratio, wins):
    result = choose([FP32, variant(Form.INT8_CPU, ms=(ratio, 8 * ratio))], Target.CPU)

    assert chosen(result) is (Form.INT8_CPU if wins else Form.FP32)
    assert verdicts(result)[Form.INT8_CPU] == ("" if wins else f"not clearly quicker than fp32 (x{ratio:.2f})")


def test_all_batch_sizes_count_alike_however_long_they_take():
    # Twice as quick at batch 1, half as quick at batch 8: no gain on the whole.
    result = choose([FP32, variant(Form.INT8_CPU, ms=(0.5, 16.0))], Target.CPU)

    assert chosen(result) is Form.FP32
    assert latency_ratio(result[1], result[0]) == pytest.approx(1.0)


def test_only_batch_sizes_measured_for_both_are_compared():
    assert latency_ratio(variant(Form.INT8_CPU, ms=(0.5,)), FP32) == pytest.approx(0.5)


def test_a_form_without_latencies_is_not_chosen_for_the_cpu():
    result = choose([FP32, variant(Form.INT8_CPU, ms=())], Target.CPU)

    assert chosen(result) is Form.FP32
    assert verdicts(result)[Form.INT8_CPU] == "its latency was not measured"


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Difference(1, 1, 0.5, 0.91, ()), "out of tolerance: agreement 0.91 < 0.97"),
        (Difference(1, 1, 0.5, 1.0, ()), "out of tolerance: cosine 0.5 < 0.99"),
        (Difference(1, 0.25, 1.0, 1.0, ()), "out of tolerance: relative error 0.25 > 0.1"),
        (Difference(1, math.nan, 1.0, 1.0, ()), "out of tolerance: relative error nan > 0.1"),
        (Difference(1, 1e-3, math.nan, 1.0, ()), "out of tolerance: cosine nan < 0.99"),
        (None, "out of tolerance: it was compared with nothing"),
    ],
)
@pytest.mark.parametrize("target", Target)
def test_a_form_out_of_tolerance_is_never_chosen_however_quick_and_small(difference, verdict, target):
    form = FORMS_FOR[target][-1]
    result = choose([FP32, variant(form, size=1, ms=(0.1, 0.1), difference=difference)], target)

    assert chosen(result) is Form.FP32
    assert verdicts(result)[form] == verdict


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (Difference(0, 0, 1, 0.96, ()), Difference(0, 0, 1, 0.5, ()), "agreement 0.5 < 0.97"),
        (Difference(0, 0.2, 1, 1, ()), Difference(0, 0.3, 1, 1, ()), "relative error 0.3 > 0.1"),
        (Difference(0, 0.2, 1, 1, ()), Difference(0, math.nan, 1, 1, ()), "relative error nan > 0.1"),
        (Difference(0, 0, 1, 0.5, ()), Difference(0, 0, 1, math.nan, ()), "agreement nan < 0.97"),
    ],
)
def test_the_worst_of_several_cases_is_named(first, second, verdict):
    cases = [Comparison("model", "batch 1", 1, {}, difference) for difference in (first, second)]
    bad = replace(variant(Form.INT8_CPU), comparisons=cases)

    assert verdicts(choose([FP32, bad], Target.CPU))[Form.INT8_CPU] == f"out of tolerance: {verdict}"


@pytest.mark.parametrize("target", Target)
def test_what_failed_keeps_its_reason_and_is_not_chosen(target):
    form = FORMS_FOR[target][-1]
    result = choose([FP32, variant(form, size=0, ms=(0.1, 0.1), verdict="could not be written")], target)

    assert chosen(result) is Form.FP32
    assert verdicts(result)[form] == "could not be written"


@pytest.mark.parametrize("target", [Target.CUDA, Target.TENSORRT])
def test_for_a_gpu_the_smallest_form_meant_for_it_wins_however_slow_it_is_here(target):
    result = choose([FP32, variant(Form.FP16, size=50, ms=(9.0, 72.0))], target)

    assert chosen(result) is Form.FP16
    assert verdicts(result)[Form.FP16] == ""


def test_for_tensorrt_int8_wins_over_fp16_and_forms_for_the_cpu():
    forms = [
        variant(Form.FP16, size=50),
        variant(Form.INT8_DYNAMIC, size=20, ms=(0.1, 0.1)),
        variant(Form.INT8_CPU, size=20, ms=(0.1, 0.1)),
        variant(Form.INT8_TENSORRT, size=25, ms=(3.0, 24.0)),
    ]
    result = choose([FP32, *forms], Target.TENSORRT)

    assert chosen(result) is Form.INT8_TENSORRT
    assert (
        verdicts(result)[Form.INT8_CPU] == "for the cpu, not for tensorrt; the latency measured here does not count"
    )
    assert verdicts(result)[Form.INT8_DYNAMIC] == verdicts(result)[Form.INT8_CPU]


@pytest.mark.parametrize("target", [Target.CPU, Target.CUDA])
def test_the_form_for_tensorrt_is_for_nothing_else(target):
    result = choose([FP32, variant(Form.INT8_TENSORRT, size=1, ms=(0.1, 0.1))], target)

    assert chosen(result) is Form.FP32
    assert verdicts(result)[Form.INT8_TENSORRT] == f"for tensorrt, not for {target.value}"


@pytest.mark.parametrize("target", Target)
def test_fp32_alone_is_chosen_even_with_a_verdict_of_its_own(target):
    result = choose([variant(Form.FP32, verdict="TensorRT's parser: refused")], target)

    assert chosen(result) is Form.FP32
    assert result[0].verdict == "TensorRT's parser: refused"


def test_a_model_of_which_no_form_can_be_used_is_refused():
    refused = choose([variant(Form.FP32, verdict="TensorRT's parser, model: refused")], Target.TENSORRT)

    with pytest.raises(ConversionRefused, match="TensorRT's parser") as error:
        refuse_unusable(refused, Target.TENSORRT)
    assert error.value.reason is Reason.TARGET
    refuse_unusable(choose([FP32], Target.TENSORRT), Target.TENSORRT)
