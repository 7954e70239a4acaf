"""An answer for people (values shortened) and for programs (everything)."""

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.cli.asking import RankedClass
from appliance.cli.bfloat16 import values_of
from appliance.model.datatype import Datatype

_MOST_VALUES = 8
_LONGEST_TEXT = 40


def values_document(array: npt.NDArray[Any], datatype: Datatype) -> Any:
    """Write an array as nested lists. BYTES become text, or {"base64": ...} where they are not UTF-8."""
    if datatype is Datatype.BYTES:
        texts = np.empty(array.size, dtype=object)
        texts[:] = [_text_document(element) for element in array.reshape(-1)]
        return texts.reshape(array.shape).tolist()
    return (values_of(array) if datatype is Datatype.BF16 else array).tolist()


def shortened(array: npt.NDArray[Any], datatype: Datatype) -> str:
    """Write the first values, row-major, and `...` where there are more."""
    first = array.reshape(-1)[:_MOST_VALUES]
    if datatype is Datatype.BF16:
        first = values_of(first)
    texts = [_short_text(value) for value in first.tolist()]
    return " ".join([*texts, "..."] if array.size > _MOST_VALUES else texts)


def class_document(ranked: RankedClass) -> dict[str, Any]:
    """One best class."""
    return {"label": ranked.label, "index": ranked.index, "value": ranked.value}


def _short_text(value: Any) -> str:
    match value:
        case bytes():
            text = value.decode(errors="backslashreplace")
            return repr(text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "...")
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)


def _text_document(element: bytes) -> Any:
    try:
        return element.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(element).decode()}
