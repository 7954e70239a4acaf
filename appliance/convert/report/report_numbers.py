"""How the report writes numbers: short for people, and exactly, in the same place, for programs."""

import math
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal

from appliance.convert.precision import Form
from appliance.convert.report.markup import Markup, element, joined
from appliance.convert.report.report_document import plain

FORM_NAMES = {
    Form.FP32: "FP32",
    Form.FP16: "FP16",
    Form.INT8_DYNAMIC: "INT8 dynamic",
    Form.INT8_CPU: "INT8 CPU",
    Form.INT8_TENSORRT: "INT8 TensorRT",
}
ABSENT = "\N{EN DASH}"
_SMALLEST_IN_FULL = 1e-3


def number(value: float, text: str) -> Markup:
    """Show `text` and keep the value that the JSON has."""
    return element("data", text, value=str(plain(value)))


def error(value: float) -> Markup:
    """1.24e-5, 0.53."""
    return number(value, error_text(value))


def error_text(value: float) -> str:
    """Write an error or a bound with three digits."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value == 0 or abs(value) >= _SMALLEST_IN_FULL:
        return _stripped(three_digits(value))
    digits, exponent = f"{value:.2e}".split("e")
    return f"{_stripped(digits)}e{int(exponent)}"


def share(value: float) -> Markup:
    """99.8 %."""
    return number(value, share_text(value))


def share_text(value: float) -> str:
    """Write a share in per cent, never rounded up to 100."""
    if not math.isfinite(value):
        return error_text(value)
    return f"{_cut(Decimal(str(value)) * 100, 2)} %"


def cosine(value: float) -> Markup:
    """0.999991, never rounded up to 1."""
    return number(value, cosine_text(value))


def cosine_text(value: float) -> str:
    """Write a cosine with six digits."""
    return _cut(Decimal(str(value)), 6) if math.isfinite(value) else error_text(value)


def size(size_bytes: int) -> Markup:
    """12.3 MiB."""
    return number(size_bytes, size_text(size_bytes))


def size_text(size_bytes: int) -> str:
    """Write a number of bytes."""
    amount, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004  # the next unit
            break
        amount, unit = amount / 1024, larger
    return f"{size_bytes} B" if unit == "B" else f"{three_digits(amount)} {unit}"


def milliseconds(median_ms: float) -> Markup:
    """3.21 ms."""
    return number(median_ms, f"{three_digits(median_ms)} ms")


def per_second(rate: float) -> Markup:
    """312 per second; the unit stands in the heading."""
    return number(rate, three_digits(rate))


def three_digits(value: float) -> str:
    """Write three significant digits, all digits of larger numbers, never an exponent for what people measure."""
    if not math.isfinite(value):
        return error_text(value)
    if value == 0 or abs(value) >= 100:  # noqa: PLR2004  # three digits before the point
        return f"{value:.0f}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"


def shape_text(shape: Sequence[int]) -> str:
    """1x3x224x224, with the sign of multiplication."""
    return "\N{MULTIPLICATION SIGN}".join(map(str, shape))


def counted(count: int, thing: str) -> Markup:
    """1 case, 2 cases."""
    return joined(number(count, str(count)), f" {thing}{'' if count == 1 else 's'}")


def _cut(value: Decimal, digits: int) -> str:
    """Cut, not round: 99.9996 % must not read as 100 %."""
    return _stripped(f"{value.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_FLOOR):f}")


def _stripped(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
