"""`appliance logs`: what the journal has of the service and of the units around it."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.errors import Failed

_LEVELS = ("debug", "info", "warning", "err", "crit")
_JOURNALS = (Path("/run/log/journal"), Path("/var/log/journal"))


def logs(
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines. 0: all.")] = 200,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="From then on: 1 hour ago, 2026-12-31 08:00.", show_default=False)
    ] = "",
    level: Annotated[
        str, typer.Option(metavar="LEVEL", help="That and worse: debug, info, warning, err, crit.")
    ] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    boot: Annotated[bool, typer.Option("--boot", "-b", help="Only since the machine's start.")] = False,
    explain: Annotated[bool, typer.Option("--explain", "-x", help="With what the catalog says of events.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Each entry as one line of JSON.")] = False,
) -> None:
    """Show what the service and its units wrote to the journal. Never holds requests or answers."""
    if level and level not in _LEVELS:
        raise WrongUsage(f"--level is '{level}', expected one of {', '.join(_LEVELS)}")
    program = shutil.which("journalctl")
    if program is None or not any(place.is_dir() for place in _JOURNALS):
        raise Failed(
            "this machine has no systemd journal",
            hint="an appliance that was started by hand writes to its terminal; "
            "keep it with: appliance serve 2> FILE",
        )
    if not may_read_journal(_JOURNALS):
        raise Failed("the journal cannot be read by this user", hint="sudo appliance logs")
    command = journalctl(lines, since, level, follow=follow, boot=boot, explain=explain, as_json=as_json)
    os.execv(program, [program, *command])  # noqa: S606  (no shell; the arguments are checked above)


def may_read_journal(places: Iterable[Path]) -> bool:
    """Whether this user may read what the system's units wrote; True where nothing has been written yet.

    The directories tell nothing: all users may list them, the files are for root and the group systemd-journal.
    """
    hidden = False
    for place in places:
        files = list(place.glob("*/system*.journal"))
        if any(_readable(file) for file in files):
            return True
        hidden = hidden or bool(files) or (place.is_dir() and not _readable(place))
    return not hidden


def _readable(path: Path) -> bool:
    return os.access(path, os.R_OK, effective_ids=True)


def journalctl(
    lines: int, since: str, level: str, *, follow: bool, boot: bool, explain: bool, as_json: bool
) -> list[str]:
    """Return the arguments for journalctl: the units of this product, and nothing else of the machine."""
    return [
        "--unit=appliance*",
        "--no-pager",
        "--no-hostname",
        f"--output={'json' if as_json else 'short-iso'}",
        *([f"--lines={lines}"] if lines else []),
        *([f"--since={since}"] if since else []),
        *([f"--priority={level}"] if level else []),
        *(["--follow"] if follow else []),
        *(["--boot"] if boot else []),
        *(["--catalog"] if explain and not as_json else []),
    ]
