"""Horizontal bars: one amount of each variant, longest possible bar for the largest."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.convert.report.chart_frame import WIDTH, bar, drawing, label, line
from appliance.convert.report.markup import Markup

_ROW_HEIGHT = 46.0
_BAR_HEIGHT = 18.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One row."""

    label: str
    amount: float
    text: str  # the amount with its unit
    series: str


def bar_chart(name: str, title: str, bars: Sequence[Bar]) -> Markup:
    """Draw bars from a common zero, each under its name and amount."""
    largest = max((one.amount for one in bars), default=0) or 1
    height = _ROW_HEIGHT * len(bars) + 4
    rows = [mark for number, one in enumerate(bars) for mark in _row(one, number * _ROW_HEIGHT, largest)]
    described = "; ".join(f"{one.label}: {one.text}" for one in bars)
    return drawing(name, title, described, height, *rows, line(0.5, 0, 0.5, height, "axis"))


def _row(one: Bar, top: float, largest: float) -> tuple[Markup, ...]:
    length = max(WIDTH * one.amount / largest, 1)
    return (
        label(one.label, 6, top + 16, "name"),
        label(one.text, WIDTH, top + 16, anchor="end"),
        bar(0, top + 23, length, _BAR_HEIGHT, one.series),
    )
