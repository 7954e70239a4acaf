import math
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.convert.comparison import HISTOGRAM_DECADES
from appliance.convert.precision import Form
from appliance.convert.report.bar_chart import Bar, bar_chart
from appliance.convert.report.chart_frame import WIDTH, ticks
from appliance.convert.report.histogram_chart import ErrorCounts, bin_name, histogram_chart
from appliance.convert.report.line_chart import Line, line_chart
from appliance.convert.report.markup import element, joined
from appliance.convert.report.report_charts import error_figure, latency_figure, size_figure, throughput_figure
from appliance.convert.report.report_numbers import cosine_text, error_text, share_text, size_text, three_digits
from appliance.convert.variant import Latency, Variant
from tests.convert.conversions import a_difference, a_variant, all_variants, comparisons

NOTHING = (0,) * len(HISTOGRAM_DECADES)
FIGURES = (size_figure, latency_figure, throughput_figure, error_figure)


def with_latencies(*latencies: Latency) -> Variant:
    return replace(a_variant(chosen=True), latencies=latencies)


def with_histogram(histogram: tuple[int, ...]) -> Variant:
    difference = replace(a_difference(1e-5), histogram=histogram)
    return replace(a_variant(chosen=True), comparisons=comparisons(difference))


def numbers_of(chart: ET.Element) -> list[float]:
    """All coordinates and lengths that are drawn."""
    named = ("x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "width", "height")
    values = [mark.get(name, "0") for mark in chart.iter() for name in named]
    pairs = [pair for mark in chart.iter() for pair in mark.get("points", "").split()]
    return [float(value) for value in (*values, *(value for pair in pairs for value in pair.split(",")))]


def bars_of(chart: str) -> list[dict[str, float]]:
    return [
        {name: float(mark.get(name, 0)) for name in ("x", "y", "width", "height")}
        for mark in ET.fromstring(chart).iter("rect")
    ]


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize(
    "variants",
    [
        pytest.param(all_variants(), id="all"),
        pytest.param([a_variant(chosen=True)], id="one variant"),
        pytest.param([with_latencies(Latency(1, 3.5, 9))], id="one batch size"),
        pytest.param([with_latencies(Latency(3, 3.5, 9), Latency(7, 4.5, 9))], id="odd batch sizes"),
        pytest.param([with_latencies()], id="no latency"),
        pytest.param([with_latencies(Latency(1, 0.0, 9), Latency(2, 0.0, 9))], id="too quick to see"),
        pytest.param([with_latencies(Latency(1, math.nan, 9))], id="not a number"),
        pytest.param([with_histogram(NOTHING)], id="nothing compared"),
        pytest.param([with_histogram((7, *NOTHING[1:]))], id="no error at all"),
        pytest.param([replace(a_variant(chosen=True), comparisons=(), size_bytes=0)], id="nothing known"),
    ],
)
def test_a_chart_stays_inside_its_frame_whatever_was_measured(figure, variants):
    chart = ET.fromstring(figure(variants)).find("svg")

    assert chart is not None
    width, height = map(float, chart.get("viewBox", "").split()[2:])
    drawn = numbers_of(chart)
    assert all(math.isfinite(number) for number in drawn)
    assert min(drawn) >= -1
    assert max(drawn) <= max(width, height)
    assert all(float(text.get("y", 0)) <= height for text in chart.iter("text"))


def test_bars_are_as_long_as_what_they_stand_for():
    bars = [Bar("a", 400, "400", "fp32"), Bar("b", 100, "100", "fp16"), Bar("c", 0, "0", "int8-cpu")]
    lengths = [bar["width"] for bar in bars_of(bar_chart("size", "Size", bars))]

    assert lengths == [WIDTH, WIDTH / 4, 1]


def test_bars_of_the_histogram_share_one_scale_and_stand_at_their_decades():
    full = ErrorCounts("a", "largest 1e-6", (100, *NOTHING[1:]), "fp32")
    half = ErrorCounts("b", "largest 1", (*NOTHING[:-2], 50, 50), "fp16")
    first, second, third = bars_of(histogram_chart("errors", "Errors", [full, half]))

    assert second["height"] == third["height"] == pytest.approx(first["height"] / 2, abs=0.1)
    assert first["x"] == pytest.approx(1.5, abs=0.1)
    assert second["x"] == pytest.approx((len(HISTOGRAM_DECADES) - 2) * WIDTH / len(HISTOGRAM_DECADES) + 1.5, abs=0.1)


def test_a_histogram_of_nothing_says_so_and_draws_no_bar():
    chart = histogram_chart("errors", "Errors", [ErrorCounts("FP32", "largest 0", NOTHING, "fp32")])

    assert "nothing was compared" in chart
    assert not bars_of(chart)


def test_the_bins_of_the_histogram_name_both_ends():
    assert bin_name(-12) == "equal, or below 1e-11"
    assert bin_name(-3) == "1e-3 to 1e-2"
    assert bin_name(2) == "1e2 and above"


def test_lines_start_at_zero_and_higher_amounts_stand_higher():
    chart = ET.fromstring(
        line_chart("latency", "Latency", "ms", [Line("FP32", [(1, 10.0), (2, 20.0), (4, 40.0)], "fp32")])
    )
    points = [(float(mark.get("cx", 0)), float(mark.get("cy", 0))) for mark in chart.iter("circle")]
    zero = next(float(mark.get("y1", 0)) for mark in chart.iter("line") if mark.get("class") == "axis")
    above = [zero - y for _, y in points]

    assert above[1] == pytest.approx(2 * above[0], abs=0.2)
    assert above[2] == pytest.approx(4 * above[0], abs=0.3)
    assert points[1][0] - points[0][0] == pytest.approx(points[2][0] - points[1][0], abs=0.2)  # doubling is one step


@pytest.mark.parametrize("amount", [0.0, 5.0, 9.99])
def test_names_of_lines_that_end_together_do_not_cover_each_other(amount):
    lines = [Line(form.value, [(1, 10.0), (8, amount)], form.value) for form in Form]
    chart = ET.fromstring(line_chart("latency", "Latency", "ms", lines))
    heights = sorted(float(text.get("y", 0)) for text in chart.iter("text") if "name" in text.get("class", ""))

    assert len(heights) == len(Form)
    assert min(lower - upper for upper, lower in pairwise(heights)) >= 14


def test_every_form_has_a_point_of_its_own_shape():
    lines = [Line(form.value, [(1, 10.0)], form.value) for form in Form]
    chart = ET.fromstring(line_chart("latency", "Latency", "ms", lines))
    marks = [mark for mark in chart.iter() if "point" in mark.get("class", "")]
    shapes = {(mark.tag, len(mark.get("points", "").split()), mark.get("points")) for mark in marks}

    assert len(marks) == len(shapes) == len(Form)


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_ticks_are_few_evenly_spaced_from_zero_and_reach_the_highest(highest):
    steps = ticks(highest)

    assert steps[0] == 0
    assert steps[-1] >= highest * (1 - 1e-6)
    assert steps[-2] < highest
    assert 3 <= len(steps) <= 6
    assert all(later - earlier == pytest.approx(steps[1]) for earlier, later in pairwise(steps))


@pytest.mark.parametrize("highest", [0.0, -1.0, math.nan, math.inf])
def test_ticks_of_nothing_are_those_of_one(highest):
    assert ticks(highest) == (0, 1)


def test_what_is_nearly_whole_never_reads_as_whole():
    assert share_text(0.999999) == "99.99 %"
    assert share_text(1.0) == "100 %"
    assert share_text(0.57) == "57 %"
    assert cosine_text(0.99999999) == "0.999999"
    assert cosine_text(1.0) == "1"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1.2345e-5, "1.23e-5"), (1e-12, "1e-12"), (0.00325, "0.00325"), (0.5, "0.5"), (2.75, "2.75"),
     (12345.0, "12345"), (math.inf, "infinite"), (math.nan, "not a number")],
)  # fmt: skip
def test_errors_are_written_short(value, text):
    assert error_text(value) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (102_553_611, "97.8 MiB")]
)
def test_sizes_are_written_with_their_unit(size_bytes, text):
    assert size_text(size_bytes) == text


@pytest.mark.parametrize(("value", "text"), [(0.0123456, "0.0123"), (3.0, "3.00"), (31.26, "31.3"), (1234.5, "1234")])
def test_measured_numbers_have_three_digits(value, text):
    assert three_digits(value) == text


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"], include_characters=" \xa0")))
def test_text_never_becomes_markup_and_is_read_back_as_it_was(text):
    parsed = ET.fromstring(element("p", text, title=text))

    assert len(parsed) == 0
    assert (parsed.text or "", parsed.get("title")) == (text, text)


def test_markup_is_taken_as_it_is_and_text_beside_it_is_not():
    assert joined(element("b", "<"), "<") == "<b>&lt;</b>&lt;"
