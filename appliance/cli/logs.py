"""`appliance logs`: what the journal has of the service and of the units around it."""

import os
from typing import Annotated

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.daemon.journal_files import require_journal

_LEVELS = ("debug", "info", "warning", "err", "crit")


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
    program = require_journal("sudo appliance logs")
    command = journalctl(lines, since, level, follow=follow, boot=boot, explain=explain, as_json=as_json)
    os.execv(program, [program, *command])  # noqa: S606  (no shell; the arguments are checked above)


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
