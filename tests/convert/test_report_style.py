"""The page can be read: in colour and without, in dark rooms, on paper, on a phone, and by ear."""

import re
from importlib import resources
from xml.etree import ElementTree as ET

from appliance.convert.precision import Form
from appliance.convert.report.report_page import report_page
from tests.convert.conversions import a_conversion


def tree(page: str) -> ET.Element:
    return ET.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def style() -> str:
    return resources.files("appliance.convert.report").joinpath("report_page.css").read_text(encoding="utf-8")


def test_every_drawing_has_words_for_those_who_cannot_see_it():
    page = tree(report_page(a_conversion()))
    drawings = list(page.iter("svg"))
    names = [element.get("id") for element in page.iter() if element.get("id")]

    assert len(drawings) == 4
    assert len(names) == len(set(names))
    for drawing in drawings:
        described = {child.get("id"): child.text for child in drawing if child.tag in {"title", "desc"}}
        assert drawing.get("role") == "img"
        assert all(described[name] for name in drawing.get("aria-labelledby", "").split())


def test_the_page_is_made_for_dark_rooms_paper_and_phones():
    page = report_page(a_conversion())

    assert "@media (prefers-color-scheme: dark)" in page
    assert "@media print" in page
    assert "@media (max-width: 40rem)" in page
    assert 'name="viewport"' in page


def test_everything_written_in_colour_can_be_read_on_every_ground():
    palettes = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in style().split(":root {")[1:]]

    assert len(palettes) == 3  # light, dark, paper
    for palette in palettes:
        grounds = [palette["card"], palette["page"]]
        inks = [palette[name] for name in ("ink", "quiet", *(form.value for form in Form))]
        assert min(_contrast(ink, ground) for ink in inks for ground in grounds) >= 4.5
        assert min(_contrast(palette["ink"], palette[f"{name}-ground"]) for name in ("good", "bad")) >= 4.5
        assert min(_contrast(palette["quiet"], palette[f"{name}-ground"]) for name in ("good", "bad")) >= 4.5
        assert min(_contrast(palette[name], palette[f"{name}-ground"]) for name in ("good", "bad")) >= 4.5


def test_every_class_of_the_style_sheet_that_names_a_form_exists():
    assert all(f".{form.value} {{ --series" in style() for form in Form)


def _contrast(one: str, other: str) -> float:
    """As the accessibility guidelines define it."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
