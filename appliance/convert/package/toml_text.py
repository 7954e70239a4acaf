"""Text inside TOML files: any text becomes one basic string that reads back as it was."""

import re

# TOML wants these escaped; line separators would be legal, but split the line in most editors.
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029]')


def quoted(text: str) -> str:
    """Write a string or a key. What UTF-8 cannot hold (half a surrogate pair, from a file name) becomes '?'."""
    sound = text.encode("utf-8", "replace").decode("utf-8")
    return f'"{_ESCAPED.sub(_escape, sound)}"'


def inline_table(entries: dict[str, str]) -> str:
    """Write a table of strings on one line."""
    return "{ " + ", ".join(f"{quoted(key)} = {quoted(value)}" for key, value in entries.items()) + " }"


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    return f"\\{char}" if char in '"\\' else f"\\u{ord(char):04x}"
