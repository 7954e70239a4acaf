"""One way to write a JSON document as bytes, and the only one read back: what is signed must not be ambiguous.

Integers, strings, booleans, lists and objects; no floats (two programs write them differently) and no null.
"""

import json
from typing import Any

from appliance.errors import InvalidInput

DEEPEST = 16


def canonical_bytes(document: Any) -> bytes:
    """Write a document: keys sorted, no spaces, UTF-8. A value of another type is our own bug."""
    _check(document, DEEPEST)
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def parse_canonical(data: bytes, what: str) -> dict[str, Any]:
    """Read an object that `canonical_bytes` wrote. Raises InvalidInput for any other bytes."""
    try:
        document = json.loads(data)
        canonical = canonical_bytes(document) == data
    except (ValueError, AssertionError, RecursionError) as error:
        raise InvalidInput(f"{what} is not canonical JSON: {error or type(error).__name__}") from error
    if not canonical or not isinstance(document, dict):
        raise InvalidInput(f"{what} is not a JSON object in canonical form (sorted keys, no spaces)")
    return document


def _check(value: Any, depth: int) -> None:
    assert depth, "nested too deeply"
    match value:
        case str() | bool() | int():
            return
        case list() | tuple():
            for item in value:
                _check(item, depth - 1)
        case dict():
            for key, item in value.items():
                assert isinstance(key, str), f"key {key!r} is not a string"
                _check(item, depth - 1)
        case _:
            raise AssertionError(f"{type(value).__name__} cannot be signed")
