"""How commands speak: results on standard output (a table or JSON), the story on standard error.

Invariants: text that came from elsewhere (a model's labels, a reason) cannot steer the terminal; without a terminal
there are no colours and no moving bars; nothing is wider than the terminal or COLUMNS.
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

Advance = Callable[[str, int, int], None]


def say(text: str) -> None:
    """Tell the story: one line on standard error."""
    _print(Text(printable(text)), sys.stderr)


def print_text(text: str) -> None:
    """Print a line of the result, wrapped at the terminal's width."""
    _print(Text(printable(text)), sys.stdout)


def print_json(document: Any) -> None:
    """Print the result for programs. NaN and infinities, which JSON does not have, become text."""
    sys.stdout.write(json.dumps(_finite(document), indent=2) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, right: Sequence[str] = ()) -> None:
    """Print the result for people; columns named in `right` hold numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    _print(table, sys.stdout)


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print names and values as two columns; names that repeat the one before are left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    previous = ""
    for name, value in facts:
        table.add_row("" if name == previous else name, Text(printable(str(value))))
        previous = name
    _print(table, sys.stdout)


def printable(text: str) -> str:
    """Make control characters visible (line breaks stay), so that no text can steer the terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode("ascii") for char in text
    )


def format_size(size_bytes: int) -> str:
    """Write a number of bytes for people: `12.3 MiB`."""
    size, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:  # noqa: PLR2004
            break
        size, unit = size / 1024, larger
    return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"


def format_duration(duration_s: float) -> str:
    """Write a duration for people in its two largest units: `3 d 4 h`."""
    seconds = int(duration_s)
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])


@contextmanager
def progress() -> Iterator[Advance]:
    """Show how far a long step is: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _line_per_step()
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415  (only where shown)

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=_console(sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(what: str, done: int, total: int) -> None:
            bar.update(task, description=printable(what), completed=done, total=total)

        yield advance


def _line_per_step(clock: Callable[[], float] = time.monotonic) -> Advance:
    """Name each step that begins, and where a long one stands once a second."""
    last_s = clock()

    def advance(what: str, done: int, total: int) -> None:
        nonlocal last_s
        if (done == 0 and total) or clock() - last_s > 1:
            say(what)
            last_s = clock()

    return advance


def _print(content: Text | Table, stream: TextIO) -> None:
    console = _console(stream)
    with console.capture() as captured:
        console.print(content)
    lines = captured.get().splitlines()
    stream.write("".join(line.rstrip() + "\n" for line in lines))
    stream.flush()


def _console(stream: TextIO) -> Console:
    # Only a terminal gets colours, whatever FORCE_COLOR and its kin say: other programs read the rest.
    return Console(file=stream, force_terminal=None if stream.isatty() else False, markup=False, highlight=False)


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
