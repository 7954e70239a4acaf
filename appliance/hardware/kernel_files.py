"""Small files in which a kernel tells its facts. One that is missing, busy or no number is no fact: None."""

from pathlib import Path

_LONGEST_BYTES = 64 * 1024
_MOST_DIGITS = 20  # of 64 bits, with a sign


class KernelFiles:
    """The files below one root: '/' on a machine, another directory in tests."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def glob(self, pattern: str) -> list[Path]:
        """Return the paths that fit, numbers in them in the order of numbers."""
        try:
            return sorted(self.root.glob(pattern), key=_natural)
        except OSError:
            return []

    def text(self, path: str | Path) -> str | None:
        """Read a file; None if it says nothing. A sensor that is switched off fails to be read."""
        try:
            with (self.root / path).open("rb") as stream:
                text = stream.read(_LONGEST_BYTES).decode("utf-8", "replace").strip("\0 \t\n")
        except OSError:
            return None
        return text or None

    def number(self, path: str | Path) -> int | None:
        """Read a file that holds one whole number."""
        text = self.text(path) or ""
        if len(text) > _MOST_DIGITS:
            return None
        try:
            return int(text)
        except ValueError:
            return None


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order hwmon10 behind hwmon2."""
    words, digits = [], ""
    for char in f"{path} ":
        if char.isdigit():
            digits += char
            continue
        if digits:
            words.append((int(digits), ""))
            digits = ""
        words.append((-1, char))
    return words
