"""The tables of the report: cases of the validation, variants, and the numbers behind the charts."""

from collections.abc import Mapping, Sequence

from appliance.convert.comparison import HISTOGRAM_DECADES, Comparison, Difference, Tolerance
from appliance.convert.conversion import Conversion
from appliance.convert.package.package_layout import packaged_files
from appliance.convert.report.histogram_chart import bin_name
from appliance.convert.report.markup import Markup, element, joined
from appliance.convert.report.report_document import rows_per_s
from appliance.convert.report.report_numbers import (
    ABSENT,
    FORM_NAMES,
    cosine,
    cosine_text,
    error,
    error_text,
    milliseconds,
    number,
    per_second,
    shape_text,
    share,
    share_text,
    size,
)
from appliance.convert.report.report_verdict import METRICS, quickness
from appliance.convert.validation.worst_difference import worst_difference
from appliance.convert.variant import Latency, Variant


def validation_table(conversion: Conversion) -> Markup:
    """FP32 against the source, case by case, the bounds below."""
    reference = conversion.variants[0]
    heads = ["Case", "Inputs", "Largest error", "Relative error", "Cosine", "Agreement"]
    rows = [
        element(
            "tr",
            _head(_case(one, conversion)),
            element("td", _shapes(one.shapes), class_="shapes"),
            *_differences(one, reference),
        )
        for one in conversion.validation
    ]
    bounds = [element("td", text, class_="number") for text in ("", *_bounds(reference.tolerance))]
    foot = element("tfoot", element("tr", _head("Bound"), element("td"), *bounds))
    caption = f"Agreement: {METRICS[conversion.exported.task]}"
    return _table("Validation of FP32", caption, heads, rows, foot)


def variants_table(conversion: Conversion) -> Markup:
    """Every form that was asked for, with what speaks for it and against it."""
    heads = ["Variant", "Verdict", "Size", "Latency", "Largest error", "Relative error", "Cosine", "Agreement"]
    rows = [_variant(variant, conversion) for variant in conversion.variants]
    caption = "Errors of the worst case, against the source. Latency of the smallest batch, compared over all sizes."
    return _table("Variants", caption, heads, rows)


def latency_table(variants: Sequence[Variant]) -> Markup:
    """The numbers behind the charts of latency and throughput."""
    heads = ["Variant", "Batch size", "Latency", "Rows per second", "Runs"]
    rows = [_latency(variant, latency) for variant in variants for latency in variant.latencies]
    return _table("Latency", "Median of the runs, per batch", heads, rows)


def histogram_table(variants: Sequence[Variant]) -> Markup:
    """The numbers behind the chart of errors."""
    worst = [(variant, worst_difference(variant.comparisons)) for variant in variants]
    compared = [(FORM_NAMES[variant.form], found.histogram) for variant, found in worst if found is not None]
    rows = [
        element("tr", _head(bin_name(decade)), *(_count(counts[place]) for _, counts in compared))
        for place, decade in enumerate(HISTOGRAM_DECADES)
    ]
    return _table("Errors", "Output values by absolute error", ["Error", *(name for name, _ in compared)], rows)


def two_columns(name: str, caption: str, heads: Sequence[str], rows: Mapping[str, str]) -> Markup:
    """Show names and values."""
    return _table(name, caption, heads, [element("tr", _head(key), element("td", rows[key])) for key in rows])


def _variant(variant: Variant, conversion: Conversion) -> Markup:
    worst = worst_difference(variant.comparisons)
    compared = [element("td", ABSENT, class_="number")] * 4 if worst is None else _measured(worst, variant.tolerance)
    return element(
        "tr",
        _head(_name(variant, conversion)),
        element("td", _verdict(variant), class_="verdict"),
        _number(size(variant.size_bytes) if variant.size_bytes else ABSENT),
        _number(_first_latency(variant, conversion)),
        *compared,
        class_="chosen" if variant.chosen else "other",
    )


def _name(variant: Variant, conversion: Conversion) -> Markup:
    files = sorted(set(packaged_files(variant, conversion.request.version).values()))
    where = element("code", *files) if files else element("span", "not in the package", class_="quiet")
    return joined(element("span", FORM_NAMES[variant.form], class_=f"swatch {variant.form.value}"), where)


def _verdict(variant: Variant) -> Markup:
    served = element("strong", "\N{CHECK MARK} served by default", class_="good")
    said = variant.verdict or ("" if variant.chosen else "can be used; not the default")
    parser = element("span", f"TensorRT's parser: {variant.parser}", class_="note") if variant.parser else ""
    return joined(served if variant.chosen else "", " " if variant.chosen and said else "", said, parser)


def _first_latency(variant: Variant, conversion: Conversion) -> Markup:
    if not variant.latencies:
        return joined(ABSENT)
    first = min(variant.latencies, key=lambda latency: latency.batch_size)
    compared = quickness(variant, conversion.variants[0])
    return joined(milliseconds(first.median_ms), element("span", compared, class_="note") if compared else "")


def _latency(variant: Variant, latency: Latency) -> Markup:
    return element(
        "tr",
        _head(FORM_NAMES[variant.form]),
        _count(latency.batch_size),
        _number(milliseconds(latency.median_ms)),
        _number(per_second(rows_per_s(latency))),
        _count(latency.runs),
    )


def _case(comparison: Comparison, conversion: Conversion) -> str:
    several = len(conversion.exported.graphs) > 1
    return f"{comparison.graph}: {comparison.case}" if several else comparison.case


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> Markup:
    return joined(*(element("code", f"{name} {shape_text(shape)}") for name, shape in shapes.items()))


def _differences(comparison: Comparison, reference: Variant) -> Sequence[Markup]:
    return _measured(comparison.difference, reference.tolerance)


def _measured(found: Difference, bound: Tolerance) -> Sequence[Markup]:
    """The four numbers; one outside of its bound says so in words, not by colour alone."""
    return [
        _number(error(found.absolute_error)),
        _checked(error(found.relative_error), found.relative_error <= bound.relative_error),
        _checked(cosine(found.cosine), found.cosine >= bound.cosine),
        _checked(share(found.agreement), found.agreement >= bound.agreement),
    ]


def _bounds(bound: Tolerance) -> Sequence[str]:
    relative = "none" if bound.relative_error == float("inf") else f"at most {error_text(bound.relative_error)}"
    return (relative, f"at least {cosine_text(bound.cosine)}", f"at least {share_text(bound.agreement)}")


def _checked(value: Markup, holds: object) -> Markup:
    if holds:
        return _number(value)
    return element("td", value, element("span", "out of tolerance", class_="note"), class_="number bad")


def _count(count: int) -> Markup:
    return _number(number(count, str(count)))


def _number(value: str) -> Markup:
    return element("td", value, class_="number")


def _head(content: str) -> Markup:
    return element("th", content, scope="row")


def _table(
    name: str, caption: str, heads: Sequence[str], rows: Sequence[Markup], foot: Markup | None = None
) -> Markup:
    """Build a table that scrolls by itself where the page is too narrow."""
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
        element("tbody", *rows),
        *([] if foot is None else [foot]),
    )
    return element("div", table, class_="scroll", role="region", aria_label=name, tabindex=0)
