from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from appliance.convert.comparison import Comparison
from appliance.convert.conversion import Conversion
from appliance.convert.precision import Form
from appliance.convert.report.report_document import report_document
from appliance.convert.report.report_page import report_page
from appliance.convert.report.report_verdict import METRICS
from appliance.convert.task import Task
from tests.convert.conversions import (
    STRICT,
    a_conversion,
    a_difference,
    a_request,
    a_variant,
    all_variants,
    an_exported_model,
    comparisons,
)

HOSTILE = "\"'><script>alert(1)</script><img src=//evil.example onerror=x>&amp;</style></title>"
LOADS = {"src", "href", "srcset", "action", "data", "poster", "background", "ping", "formaction"}


class _Reader(HTMLParser):
    """Reads as a browser does: every tag with its attributes, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(page: str) -> _Reader:
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader


def tree(page: str) -> ET.Element:
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def conversion_of(text: str) -> Conversion:
    """A conversion in which everything that comes from outside is `text`."""
    difference = a_difference(1e-5)
    case = Comparison("model", text, 1, {text: (1, 3)}, difference)
    conversion = a_conversion(
        [
            replace(a_variant(chosen=True), comparisons=[case], parser=text),
            replace(a_variant(Form.FP16, verdict=text), comparisons=[case]),
        ],
        a_request(source=text, base_model=text, intended_use=text, author=text, licence=text),
        an_exported_model(
            labels=[text, text],
            label_output=text,
            architecture=text,
            preprocessing={text: {text: text, "nested": {text: [text]}}},
            tool_versions={text: text},
            graphs=[replace(an_exported_model().graphs[0], profiles={text: graph_profile()})],
        ),
    )
    return replace(conversion, machine=text, source_digests={text: text})


def graph_profile():
    return an_exported_model().graphs[0].profiles["pixel_values"]


def test_the_page_is_well_formed_down_to_the_last_tag():
    root = tree(report_page(a_conversion()))

    assert root.tag == "html"
    assert root.get("lang") == "en-GB"
    assert [child.tag for child in root] == ["head", "body"]


def test_nothing_in_the_page_loads_or_runs():
    page = report_page(a_conversion())
    reader = read(page)

    assert not {tag for tag, _ in reader.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    }
    assert not [(tag, name) for tag, attributes in reader.tags for name in attributes if name in LOADS]
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert "url(" not in page
    assert "@import" not in page
    assert "://" not in page


def test_the_page_forbids_itself_to_load_anything():
    policies = [
        attributes["content"]
        for tag, attributes in read(report_page(a_conversion())).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]

    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_hostile_text_anywhere_stays_text():
    hostile, harmless = read(report_page(conversion_of(HOSTILE))), read(report_page(conversion_of("harmless")))

    def without_values(reader: _Reader) -> list[tuple[str, list[str]]]:
        return [(tag, list(attributes)) for tag, attributes in reader.tags]

    # The source is named by what follows its last slash, so there the hostile text is cut.
    assert without_values(hostile) == without_values(harmless)
    assert hostile.text.count("<script>") == harmless.text.count("harmless") - 1
    tree(report_page(conversion_of(HOSTILE)))


def test_text_that_steers_terminals_or_cannot_be_encoded_becomes_visible():
    page = report_page(conversion_of("a\x1b[31m\x00\ud800\u202eb\u00a0c"))

    assert page.encode()
    assert "a\\x1b[31m\\x00\\ud800\\u202eb\u00a0c" in page
    tree(page)


def test_no_path_of_the_workstation_gets_into_the_page():
    page = report_page(a_conversion())

    assert "/home" not in page
    assert "someone" not in page


def test_every_number_of_the_document_is_in_the_page_exactly():
    conversion = a_conversion()
    shown = {attributes["value"] for tag, attributes in read(report_page(conversion)).tags if tag == "data"}

    for variant in report_document(conversion)["variants"]:
        names = ("absolute_error", "relative_error", "cosine", "agreement")
        numbers = [variant["size_bytes"], *(variant["worst"][name] for name in names), *variant["worst"]["histogram"]]
        numbers += [latency[name] for latency in variant["latencies"] for name in latency]
        if variant["form"] == "fp32":
            numbers += [case[name] for case in variant["comparisons"] for name in names]
        assert {str(number) for number in numbers} <= shown


def test_a_number_that_is_none_is_said_and_never_passes():
    broken = a_variant(chosen=True, worst=replace(a_difference(1.0), relative_error=float("nan"), agreement=0.5))
    page = report_page(a_conversion([broken]))

    assert '<data value="NaN">not a number</data><span class="note">out of tolerance</span>' in page
    assert "does not compute what" in page
    assert "✗ out of tolerance" in page


@pytest.mark.parametrize("missed", ["relative_error", "cosine", "agreement"])
def test_each_bound_that_is_missed_is_marked_where_its_number_stands(missed):
    worst = replace(a_difference(1e-5), **{missed: 0.5})
    page = tree(report_page(a_conversion([a_variant(chosen=True, worst=worst)])))
    marked = [cell for cell in page.iter("td") if "bad" in cell.get("class", "")]

    assert [cell[0].get("value") for cell in marked] == ["0.5"] * 5  # one variant, four cases
    assert all("out of tolerance" in "".join(cell.itertext()) for cell in marked)


def test_the_headline_says_whether_the_model_computes_what_its_source_computes():
    heading = tree(report_page(a_conversion())).find(".//h1")

    assert heading is not None
    assert "".join(heading.itertext()) == (
        "The ONNX model computes what ResNetForImageClassification computes: over 4 cases its outputs differ by at "
        "most 3.54e-6 of their largest value, and the agreement is 100 %."
    )


def test_exactly_one_variant_is_marked_as_served_and_the_others_say_why_not():
    page = tree(report_page(a_conversion()))
    chosen = [row for row in page.iter("tr") if row.get("class") == "chosen"]
    text = "".join(page.itertext())

    assert ["".join(row[0].itertext()) for row in chosen] == ["INT8 CPU3/model.int8-cpu.onnx"]
    assert text.count("✓ served by default") == 1
    assert all(variant.verdict in text for variant in all_variants())


@pytest.mark.parametrize(("real", "words"), [(True, "brought by the person"), (False, "made by the converter")])
def test_the_page_says_whose_samples_were_compared(real, words):
    text = read(report_page(a_conversion(exported=an_exported_model(samples_are_real=real)))).text

    assert words in text
    assert ("not that the model is right for your data" in text) is not real


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"allow_pickle": True}, "--allow-pickle let it"),
        ({"intended_use": ""}, "Nobody has said what the model is meant for"),
    ],
)
def test_limits_that_follow_from_the_options_are_stated(change, sentence):
    assert sentence in read(report_page(a_conversion(request=a_request(**change)))).text
    assert sentence not in read(report_page(a_conversion())).text


def test_a_model_whose_rows_depend_on_each_other_says_so():
    graph = replace(an_exported_model().graphs[0], batched=False)

    assert (
        "does not join requests" in read(report_page(a_conversion(exported=an_exported_model(graphs=[graph])))).text
    )


def test_the_cases_of_a_speech_model_name_their_graph():
    graphs = [replace(an_exported_model().graphs[0], name=name) for name in ("encoder", "decoder")]
    variant = replace(
        a_variant(chosen=True),
        comparisons=[case for graph in graphs for case in comparisons(a_difference(1e-5), graph.name)],
    )
    text = read(report_page(a_conversion([variant], exported=an_exported_model(graphs=graphs)))).text

    assert "encoder: batch 1" in text
    assert "decoder: pixel_values" in text


def test_the_same_conversion_gives_the_same_page():
    conversion = a_conversion()
    turned = replace(conversion, source_digests=dict(reversed(conversion.source_digests.items())))

    assert report_page(conversion) == report_page(turned)


def test_the_page_stays_small_with_a_thousand_labels():
    exported = an_exported_model(labels=[f"class number {number}" for number in range(1000)])
    page = report_page(a_conversion(exported=exported))

    assert len(page.encode()) < 200_000
    assert "and 988 more" in page


def test_every_task_says_what_its_agreement_means():
    assert set(METRICS) == set(Task)


def test_bounds_of_the_validation_stand_below_it():
    text = read(report_page(a_conversion())).text

    assert f"at most {STRICT.relative_error}" in text
    assert "at least 0.9999" in text
    assert "at least 99.9 %" in text
