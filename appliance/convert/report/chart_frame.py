"""What all charts of the report share: the drawing with its words for those who cannot see it, text, and scales.

A chart is WIDTH units wide and is shown about that wide on a phone, so that its text keeps the size of the page's.
"""

import math
from collections.abc import Sequence

from appliance.convert.report.markup import Markup, element

WIDTH = 400


def drawing(name: str, title: str, description: str, height: float, *marks: str) -> Markup:
    """Frame a chart; `name` is unique in the page."""
    return element(
        "svg",
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
        *marks,
        viewBox=f"0 0 {WIDTH} {at(height)}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
    )


def label(text: str, x: float, y: float, kind: str = "", anchor: str = "start") -> Markup:
    """Write text whose baseline is at y."""
    return element("text", text, x=at(x), y=at(y), class_=kind or "label", text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Draw a straight line."""
    return element("line", x1=at(x1), y1=at(y1), x2=at(x2), y2=at(y2), class_=kind)


def bar(x: float, y: float, width: float, height: float, series: str) -> Markup:
    """Draw a filled rectangle in the colour of a series."""
    return element("rect", x=at(x), y=at(y), width=at(width), height=at(height), rx=1.5, class_=f"bar {series}")


def at(position: float) -> str:
    """Write a coordinate with one decimal at most."""
    return f"{position:.1f}".removesuffix(".0")


def ticks(highest: float, wanted: int = 4) -> Sequence[float]:
    """Round values from 0 up to at least `highest`."""
    if not (math.isfinite(highest) and highest > 0):
        return (0, 1)
    rough = highest / wanted
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough)
    return tuple(number * step for number in range(math.ceil(highest / step - 1e-9) + 1))
