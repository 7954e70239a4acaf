"""How large the errors are: one row of bars per variant, a bar per decade, all rows to the same scale."""

from collections.abc import Sequence
from dataclasses import dataclass

from appliance.convert.comparison import HISTOGRAM_DECADES
from appliance.convert.report.chart_frame import WIDTH, bar, drawing, label, line
from appliance.convert.report.markup import Markup
from appliance.convert.report.report_numbers import share_text

_TOP = 20.0
_ROW_HEIGHT = 98.0
_TALLEST = 52.0
_BIN_WIDTH = WIDTH / len(HISTOGRAM_DECADES)
_NAMED_DECADES = range(-9, 3, 3)


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """One row: counts by HISTOGRAM_DECADES."""

    label: str
    largest: str  # the largest error, in words
    counts: Sequence[int]
    series: str

    @property
    def shares(self) -> Sequence[float]:
        """Counts over their sum; all zero if nothing was counted."""
        total = sum(self.counts) or 1
        return tuple(count / total for count in self.counts)


def histogram_chart(name: str, title: str, rows: Sequence[ErrorCounts]) -> Markup:
    """Draw the rows below each other over one axis of decades."""
    highest = max((share for row in rows for share in row.shares), default=0)
    bottom = _TOP + _ROW_HEIGHT * len(rows)
    marks = [mark for number, row in enumerate(rows) for mark in _row(row, _TOP + number * _ROW_HEIGHT, highest)]
    heading = label("share of all output values", 0, 12, "quiet")
    described = "; ".join(f"{row.label}: {row.largest}, {_mode(row)}" for row in rows)
    return drawing(name, title, described, bottom + 44, heading, *_grid(bottom), *marks, *_axis(bottom))


def bin_name(decade: int) -> str:
    """Name a bin of the histogram for a table."""
    if decade == HISTOGRAM_DECADES[0]:
        return f"equal, or below 1e{decade + 1}"
    return f"1e{decade} to 1e{decade + 1}" if decade < HISTOGRAM_DECADES[-1] else f"1e{decade} and above"


def _row(row: ErrorCounts, top: float, highest: float) -> list[Markup]:
    base = top + _ROW_HEIGHT
    marks = [label(row.label, 0, top + 18, "name"), label(row.largest, WIDTH, top + 18, anchor="end")]
    for number, share in enumerate(row.shares):
        if share:
            height = max(_TALLEST * share / highest, 1.5)  # a bar that is there can be seen
            marks.append(bar(number * _BIN_WIDTH + 1.5, base - height, _BIN_WIDTH - 3, height, row.series))
    if any(row.counts):
        marks.append(_tallest_label(row, base, highest))
    return [*marks, line(0, base, WIDTH, base, "axis")]


def _tallest_label(row: ErrorCounts, base: float, highest: float) -> Markup:
    number = row.shares.index(max(row.shares))
    middle = min(max((number + 0.5) * _BIN_WIDTH, 24), WIDTH - 24)
    return label(
        share_text(round(row.shares[number], 3)),
        middle,
        base - _TALLEST * row.shares[number] / highest - 4,
        "quiet",
        "middle",
    )


def _mode(row: ErrorCounts) -> str:
    if not any(row.counts):
        return "nothing was compared"
    number = row.shares.index(max(row.shares))
    return f"most often {bin_name(HISTOGRAM_DECADES[number])} ({share_text(row.shares[number])})"


def _edge(decade: int) -> float:
    return (decade - HISTOGRAM_DECADES[0]) * _BIN_WIDTH


def _grid(bottom: float) -> list[Markup]:
    return [line(_edge(decade), _TOP + 26, _edge(decade), bottom, "grid") for decade in _NAMED_DECADES]


def _axis(bottom: float) -> list[Markup]:
    names = [label(_power(decade), _edge(decade), bottom + 16, "quiet", "middle") for decade in _NAMED_DECADES]
    return [
        label("≈ 0", _BIN_WIDTH / 2, bottom + 16, "quiet", "middle"),
        *names,
        label("absolute error of a value, in the unit of the output", WIDTH / 2, bottom + 36, "quiet", "middle"),
    ]


def _power(decade: int) -> str:
    return "1" if decade == 0 else f"1e{decade}"
