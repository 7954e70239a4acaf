"""labels.txt: one label per line, in the order of the classes."""

import unicodedata
from collections.abc import Sequence

from appliance.convert.refusal import ConversionRefused, Reason

LABELS = "labels.txt"
# Control characters, line and paragraph separators, halves of surrogate pairs: they end a line or cannot be written.
_NOT_IN_A_LINE = frozenset({"Cc", "Zl", "Zp", "Cs"})


def label_file(labels: Sequence[str]) -> bytes:
    """Write the labels. Raises ConversionRefused for one that is no line: all classes after it would be misnamed."""
    for number, label in enumerate(labels):
        if any(unicodedata.category(char) in _NOT_IN_A_LINE for char in label):
            raise ConversionRefused(
                Reason.NO_CONFIG,
                f"the label of class {number} is {label!a}, expected one line of text",
                hint="correct the labels of the source (id2label in config.json), then convert again",
            )
    return "".join(f"{label}\n" for label in labels).encode()
