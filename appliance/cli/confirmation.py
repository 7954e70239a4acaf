"""What cannot be undone is confirmed by typing the serial of the box, with the daemon stopped."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.cli.output import say
from appliance.errors import Busy

if TYPE_CHECKING:
    from appliance.state_layout import StateLayout

UNPROVISIONED = "unprovisioned"  # what is typed for a box that has no serial
YesOption = Annotated[
    str | None,
    typer.Option(
        "--yes",
        metavar="SERIAL",
        help=f"Do not ask: the serial of this box, or '{UNPROVISIONED}' if it has none.",
    ),
]


@contextmanager
def stopped_state(layout: "StateLayout") -> "Iterator[None]":
    """Hold the daemon's lock meanwhile. Raises Busy if the daemon runs."""
    from appliance.daemon.state_lock import daemon_lock  # noqa: PLC0415  (heavy: not for --help)

    with told_to_stop(), daemon_lock(layout):
        yield


@contextmanager
def told_to_stop() -> "Iterator[None]":
    """Let whoever meets a running daemon read how to stop it."""
    try:
        yield
    except Busy as error:
        if "serves the state directory" not in error.message:
            raise
        raise Busy(error.message, hint="stop it first: systemctl stop appliance") from error


def require_confirmed(serial: str, given: str | None, doing: str) -> None:
    """Compare what was given with the serial, or ask for it. Raises WrongUsage; nothing has been done then."""
    expected = serial or UNPROVISIONED
    if given is None:
        if not sys.stdin.isatty():
            raise WrongUsage(
                f"this would {doing}, and nobody can be asked: this is no terminal",
                hint=f"say which box you mean: --yes {expected}",
            )
        say(f"this will {doing}; it cannot be undone")
        given = input(f"To go on, type {expected}: ").strip()
    if given != expected:
        raise WrongUsage(
            f"'{given}' was given, this box is {expected}; nothing was done",
            hint="look which box this is: appliance status",
        )
