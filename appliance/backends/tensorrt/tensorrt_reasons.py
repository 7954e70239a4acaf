"""TensorRT's messages, shortened to what a person can use."""

import re
from collections.abc import Sequence

_LARGEST_REASON = 300
_SOURCE = re.compile(r"\[[\w./]+\.(?:cpp|cu|h|hpp|cc)::[^\]]*\]\s*")
_PREFIX = re.compile(r"^(?:I\w+::\w+: )?(?:Error Code \d+: )?")
_MEMORY = re.compile(r"out ?of ?memory|cudaErrorMemoryAllocation|Requested size was|bad_alloc", re.IGNORECASE)


def short_reason(messages: Sequence[str]) -> str:
    """Return the substance of TensorRT's error messages, oldest first, on one line of at most 300 characters."""
    cleaned = [" ".join(_PREFIX.sub("", _SOURCE.sub("", message)).split()) for message in messages]
    line = "; ".join(dict.fromkeys(text for text in cleaned if text)) or "it gives no reason"
    line = "".join(character if character.isprintable() else " " for character in line)
    return line if len(line) <= _LARGEST_REASON else line[: _LARGEST_REASON - 3] + "..."


def is_lack_of_memory(messages: Sequence[str]) -> bool:
    """Say whether the messages mean that GPU memory ran out."""
    return any(_MEMORY.search(message) for message in messages)
