"""Settings as text by their full names: for `status`, and to see what a reload changes."""

import os
from pathlib import Path

from appliance.settings import Settings


def flat(settings: Settings) -> dict[str, str]:
    """Settings as `table.key` -> text."""
    values: dict[str, str] = {}
    for key, value in settings.model_dump().items():
        if isinstance(value, dict):
            values |= {f"{key}.{inner}": _text(item) for inner, item in value.items()}
        else:
            values[key] = _text(value)
    return values


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "" if value is None else os.fspath(value) if isinstance(value, Path) else str(value)
