"""The command line: every command, and the one place where errors become words and an exit status.

Commands import what is heavy only when they run, so that `appliance --help` is quick.
"""

import io
import sys
from types import MappingProxyType
from typing import Annotated

import typer

from appliance import __version__
from appliance.cli import audit, backends, backup, engines, models, publish, update
from appliance.cli.convert import convert
from appliance.cli.device import device
from appliance.cli.doctor import doctor
from appliance.cli.exit_codes import exit_code
from appliance.cli.factory_reset import factory_reset
from appliance.cli.infer import infer
from appliance.cli.logs import logs
from appliance.cli.metrics import metrics
from appliance.cli.options import invalid_is_usage
from appliance.cli.output import say
from appliance.cli.provision import provision
from appliance.cli.restore import restore
from appliance.cli.root_files import give_to_service
from appliance.cli.selftest import selftest
from appliance.cli.serve import serve
from appliance.cli.status import status
from appliance.cli.support_bundle import support_bundle
from appliance.cli.wait_gpu import wait_gpu
from appliance.cli.wipe import check_erasure, wipe
from appliance.errors import ApplianceError, ErrorKind

_NEXT = MappingProxyType(
    {
        ErrorKind.INVALID: "see what the command expects: add --help to it",
        ErrorKind.NOT_FOUND: "see what there is: appliance status, appliance models list",
        ErrorKind.BUSY: "see what the daemon does: appliance status",
        ErrorKind.EXPIRED: "see what the daemon does: appliance status",
    }
)
_OTHERWISE = "examine this box: appliance doctor"

app = typer.Typer(
    name="appliance",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage or settings, 3 the daemon cannot be reached. "
    "10 and more: why `convert` refused a source, or a box an update.",
)
app.command()(serve)
app.command()(status)
app.command()(device)
app.command()(metrics)
app.add_typer(models.app, name="models")
app.add_typer(update.app, name="update")
app.add_typer(publish.app, name="publish")
app.add_typer(backends.app, name="backends")
app.add_typer(engines.app, name="engines")
app.command()(provision)
app.add_typer(audit.app, name="audit")
app.add_typer(backup.app, name="backup")
app.command()(restore)
app.command()(factory_reset)
app.command()(wipe)
app.command()(check_erasure)
app.command()(infer)
app.command()(selftest)
app.command()(wait_gpu)
app.command()(logs)
app.command()(doctor)
app.command()(support_bundle)
app.command()(invalid_is_usage(convert))


def main() -> None:
    """Run one command and leave with its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Labels may hold any character; a terminal with another encoding must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except ApplianceError as error:
        _explain(error)
        sys.exit(exit_code(error))
    finally:
        for problem in give_to_service():  # told, and no more: how the command ended is what counts
            say(f"warning: {problem} (see: appliance doctor)")


def _explain(error: ApplianceError) -> None:
    say(f"error: {error.message}")
    say(f"next: {error.hint or _NEXT.get(error.kind, _OTHERWISE)}")


def _show_version(asked: bool) -> None:  # noqa: FBT001  (typer's form of a callback)
    if asked:
        typer.echo(f"appliance {__version__}")
        raise typer.Exit


@app.callback()
def _appliance(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """An inference appliance that its owner controls completely."""


if __name__ == "__main__":
    main()
