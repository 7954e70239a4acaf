"""The four charts of the report: size, latency, throughput and errors of all variants."""

from collections.abc import Callable, Sequence

from appliance.convert.comparison import Difference
from appliance.convert.report.bar_chart import Bar, bar_chart
from appliance.convert.report.histogram_chart import ErrorCounts, histogram_chart
from appliance.convert.report.line_chart import Line, line_chart
from appliance.convert.report.markup import Markup, element
from appliance.convert.report.report_document import rows_per_s
from appliance.convert.report.report_numbers import FORM_NAMES, error_text, share_text, size_text
from appliance.convert.validation.worst_difference import worst_difference
from appliance.convert.variant import Latency, Variant


def size_figure(variants: Sequence[Variant]) -> Markup:
    """Show how large each variant is."""
    written = [variant for variant in variants if variant.size_bytes]
    bars = [Bar(FORM_NAMES[one.form], one.size_bytes, _size(one, variants[0]), one.form.value) for one in written]
    return _figure("Size", "Smaller is better.", bar_chart("size", "Size of each variant", bars))


def latency_figure(variants: Sequence[Variant]) -> Markup:
    """Show how long a batch takes."""
    chart = line_chart("latency", "Latency by batch size", "ms per batch", _lines(variants, _median_ms))
    return _figure("Latency by batch size", "Lower is better.", chart)


def throughput_figure(variants: Sequence[Variant]) -> Markup:
    """Show how many rows a second brings."""
    chart = line_chart("throughput", "Throughput by batch size", "rows per second", _lines(variants, rows_per_s))
    return _figure("Throughput by batch size", "Higher is better.", chart)


def error_figure(variants: Sequence[Variant]) -> Markup:
    """Show how far the output values are from those of the source."""
    worst = [(variant, worst_difference(variant.comparisons)) for variant in variants]
    rows = [_counts(variant, found) for variant, found in worst if found is not None]
    chart = histogram_chart("errors", "Absolute errors of each variant", rows)
    return _figure("Errors against the source", "Further left is better.", chart)


def _figure(title: str, advice: str, chart: Markup) -> Markup:
    return element("figure", element("figcaption", element("strong", title), " ", advice), chart)


def _size(variant: Variant, reference: Variant) -> str:
    text = size_text(variant.size_bytes)
    if variant is reference:
        return text
    return (
        f"{text} ({share_text(round(variant.size_bytes / reference.size_bytes, 2))} of FP32)"
        if reference.size_bytes
        else text
    )


def _lines(variants: Sequence[Variant], amount: Callable[[Latency], float]) -> list[Line]:
    return [
        Line(
            FORM_NAMES[variant.form],
            [(latency.batch_size, amount(latency)) for latency in variant.latencies],
            variant.form.value,
        )
        for variant in variants
    ]


def _median_ms(latency: Latency) -> float:
    return latency.median_ms


def _counts(variant: Variant, found: Difference) -> ErrorCounts:
    largest = f"largest {error_text(found.absolute_error)}"
    return ErrorCounts(FORM_NAMES[variant.form], largest, found.histogram, variant.form.value)
