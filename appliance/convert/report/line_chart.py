"""Lines over batch sizes, named at their ends instead of in a legend; points differ in shape as well as in colour."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from appliance.convert.report.chart_frame import WIDTH, at, drawing, label, line, ticks
from appliance.convert.report.markup import Markup, element
from appliance.convert.report.report_numbers import three_digits

_LEFT, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 44.0, 124.0, 26.0, 44.0, 270.0
_LABEL_GAP = 15.0
_RADIUS = 4.0
_CORNERS: Mapping[str, Sequence[tuple[float, float]]] = {
    "fp16": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "int8-dynamic": ((0, -1.3), (1.2, 1), (-1.2, 1)),
    "int8-cpu": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
    "int8-tensorrt": ((-1.2, -1), (1.2, -1), (0, 1.3)),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One variant: its name and the points (batch size, amount)."""

    label: str
    points: Sequence[tuple[int, float]]
    series: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where amounts and batch sizes lie: amounts from zero, batch sizes by their logarithm."""

    sizes: Sequence[int]
    highest: float

    def x(self, batch_size: int) -> float:
        width = WIDTH - _LEFT - _RIGHT
        low, high = math.log2(self.sizes[0]), math.log2(self.sizes[-1])
        return _LEFT + (width * (math.log2(batch_size) - low) / (high - low) if high > low else width / 2)

    def y(self, amount: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * amount / self.highest


def line_chart(name: str, title: str, unit: str, lines: Sequence[Line]) -> Markup:
    """Draw one line per variant; points that are not finite are left out, and so are lines without points."""
    drawn = [Line(one.label, _finite(one.points), one.series) for one in lines if _finite(one.points)]
    sizes = sorted({size for one in drawn for size, _ in one.points}) or [1]
    steps = ticks(max((amount for one in drawn for _, amount in one.points), default=0))
    scale = _Scale(sizes, steps[-1])
    described = "; ".join(f"{one.label}: {_in_words(one, unit)}" for one in drawn) or "nothing was measured"
    marks = [mark for one in drawn for mark in _line(one, scale)]
    return drawing(
        name, title, described, _HEIGHT, *_grid(scale, steps, unit), *marks, *_names_at_the_ends(drawn, scale)
    )


def _finite(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    return tuple(sorted((size, amount) for size, amount in points if math.isfinite(amount)))


def _in_words(one: Line, unit: str) -> str:
    return ", ".join(f"{three_digits(amount)} {unit} at batch {size}" for size, amount in one.points)


def _grid(scale: _Scale, steps: Sequence[float], unit: str) -> list[Markup]:
    right = WIDTH - _RIGHT
    marks = [label(unit, 0, 12, "quiet")]
    for step in steps:
        y = scale.y(step)
        marks.append(line(_LEFT - 6, y, right + 6, y, "grid" if step else "axis"))
        marks.append(label(f"{step:.10g}", _LEFT - 11, y + 4, "quiet", "end"))
    below = _HEIGHT - _BOTTOM + 18
    sizes = [label(str(size), scale.x(size), below, "quiet", "middle") for size in scale.sizes]
    return [*marks, *sizes, label("batch size (rows)", (_LEFT + right) / 2, _HEIGHT - 6, "quiet", "middle")]


def _line(one: Line, scale: _Scale) -> list[Markup]:
    places = [(scale.x(size), scale.y(amount)) for size, amount in one.points]
    path = " ".join(f"{at(x)},{at(y)}" for x, y in places)
    drawn = [element("polyline", points=path, class_=f"line {one.series}")] if len(places) > 1 else []
    return [*drawn, *(_point(x, y, one.series) for x, y in places)]


def _point(x: float, y: float, series: str) -> Markup:
    corners = _CORNERS.get(series)
    if corners is None:
        return element("circle", cx=at(x), cy=at(y), r=_RADIUS, class_=f"point {series}")
    path = " ".join(f"{at(x + dx * _RADIUS)},{at(y + dy * _RADIUS)}" for dx, dy in corners)
    return element("polygon", points=path, class_=f"point {series}")


def _names_at_the_ends(lines: Sequence[Line], scale: _Scale) -> list[Markup]:
    """Spread the names so that none covers another; a thin line leads to each that had to move."""
    ends = sorted(((scale.y(one.points[-1][1]), one) for one in lines), key=lambda end: end[0])
    lowest = _HEIGHT - _BOTTOM
    heights: list[float] = []
    for number, (y, _) in enumerate(ends):
        above = heights[-1] + _LABEL_GAP if heights else _TOP
        heights.append(max(above, min(y, lowest - _LABEL_GAP * (len(ends) - 1 - number))))
    return [mark for (y, one), height in zip(ends, heights, strict=True) for mark in _end(one, y, height, scale)]


def _end(one: Line, y: float, height: float, scale: _Scale) -> list[Markup]:
    x = scale.x(one.points[-1][0])
    return [
        line(x + 7, y, WIDTH - _RIGHT + 12, height, f"leader {one.series}"),
        label(one.label, WIDTH - _RIGHT + 16, height + 4, f"name {one.series}"),
    ]
