"""A conversion as one HTML page that needs nothing else: `conversion.html`.

Invariants: it loads nothing and runs nothing (its own policy forbids it too); text from outside never becomes markup;
the same conversion gives the same bytes.
"""

from importlib import resources

from appliance.convert.conversion import Conversion
from appliance.convert.report.markup import Markup, element, joined
from appliance.convert.report.report_charts import error_figure, latency_figure, size_figure, throughput_figure
from appliance.convert.report.report_facts import digests, facts, limits, preprocessing, shapes, tools
from appliance.convert.report.report_tables import histogram_table, latency_table, validation_table, variants_table
from appliance.convert.report.report_verdict import headline, key_figures

_STYLE = "report_page.css"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def report_page(conversion: Conversion) -> str:
    """Write the page."""
    return "<!DOCTYPE html>\n" + element("html", _head(conversion), _body(conversion), lang="en-GB") + "\n"


def _head(conversion: Conversion) -> Markup:
    style = resources.files(__package__).joinpath(_STYLE).read_text(encoding="utf-8")
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{conversion.request.name} {conversion.request.version}: conversion"),
        element("style", Markup(style)),
    )


def _body(conversion: Conversion) -> Markup:
    main = element(
        "main",
        _section("Variants", variants_table(conversion), _charts(conversion)),
        _section("Validation", validation_table(conversion)),
        _section("What this does not prove", limits(conversion)),
        _section("Model", facts(conversion)),
        _section("Inputs", shapes(conversion.exported), preprocessing(conversion.exported)),
        _section("Origin", digests(conversion), tools(conversion)),
    )
    return element("body", _header(conversion), main)


def _header(conversion: Conversion) -> Markup:
    holds = conversion.variants[0].within_tolerance
    return element(
        "header",
        element(
            "p", f"{conversion.request.name} \N{MIDDLE DOT} version {conversion.request.version}", class_="model"
        ),
        element("p", _badge(holds=holds), class_="badge good" if holds else "badge bad"),
        element("h1", headline(conversion)),
        key_figures(conversion),
    )


def _badge(*, holds: bool) -> str:
    return "\N{CHECK MARK} validated" if holds else "\N{BALLOT X} out of tolerance"


def _charts(conversion: Conversion) -> Markup:
    """Arrange the charts in columns of about equal height: those on the left grow with the number of variants."""
    variants = conversion.variants
    left = element("div", size_figure(variants), error_figure(variants))
    latency, throughput = latency_figure(variants), throughput_figure(variants)
    right = [element("div", latency), element("div", throughput)]
    columns = [left, *right] if len(variants) == 1 else [left, element("div", latency, throughput)]
    numbers = element("details", element("summary", "The numbers behind the charts"), *_numbers(conversion))
    return joined(element("div", *columns, class_="charts"), numbers)


def _numbers(conversion: Conversion) -> tuple[Markup, Markup]:
    return latency_table(conversion.variants), histogram_table(conversion.variants)


def _section(title: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content)
