"""What of a document may leave the box: fields by their names, everything else is named and withheld.

A field that a later version adds is withheld until somebody writes it down here.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from appliance.maintenance.support.wording import Wording

WITHHELD = "withheld"


class Leaf(Enum):
    """How an allowed value is written."""

    PLAIN = "plain"  # a number, a name, a digest
    TEXT = "text"  # a sentence, which may quote what a client or a file said


Allowed = Leaf | Mapping[str, "Allowed"]


def plain(*names: str) -> dict[str, Allowed]:
    """Allow these fields as they are."""
    return dict.fromkeys(names, Leaf.PLAIN)


def text(*names: str) -> dict[str, Allowed]:
    """Allow these fields as sentences."""
    return dict.fromkeys(names, Leaf.TEXT)


def allowed_only(value: Any, allowed: Allowed, wording: Wording) -> Any:
    """Return the allowed part of a document; of lists, that of each item."""
    if isinstance(value, list | tuple):
        return [allowed_only(item, allowed, wording) for item in value]
    if isinstance(allowed, Leaf):
        return _leaf(value, allowed, wording)
    if not isinstance(value, Mapping):
        return None if value is None else WITHHELD
    kept = {name: allowed_only(value[name], inner, wording) for name, inner in allowed.items() if name in value}
    unknown = sorted(str(name) for name in value if name not in allowed)
    return kept | ({WITHHELD: unknown} if unknown else {})


def _leaf(value: Any, leaf: Leaf, wording: Wording) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return wording.masked(value) if leaf is Leaf.TEXT else value
        case _:
            return WITHHELD
