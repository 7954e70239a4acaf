"""Options that many commands share, and the settings that they lead to."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.errors import InvalidInput
from appliance.settings import Settings, load_settings

P = ParamSpec("P")

ConfigOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings file. Default: /etc/appliance/appliance.toml, if it exists."),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="State directory. Default: /var/lib/appliance on an installed box, else ./.appliance."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def read_settings(config: Path | None, state: Path | None) -> Settings:
    """Read the settings for one command. Raises WrongUsage if they are not valid."""
    try:
        return load_settings(config, {} if state is None else {"state_directory": state})
    except InvalidInput as error:
        raise WrongUsage(error.message, hint=error.hint) from error


def invalid_is_usage(command: Callable[P, None]) -> Callable[P, None]:
    """Make a command whose only input are settings and options end with 'usage' when they are not valid."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except InvalidInput as error:
            raise WrongUsage(error.message, hint=error.hint) from error

    return run
