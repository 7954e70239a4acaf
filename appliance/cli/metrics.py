"""`appliance metrics`: the daemon's numbers for a monitoring system on the premises. Nothing listens for it."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.options import ConfigOption, StateOption, read_settings
from appliance.errors import Failed

_READABLE = 0o644  # by the exporter, which is another user


def metrics(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Replace this file as a whole, for the node exporter's textfile collector."
        ),
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Print the daemon's metrics in Prometheus' text format. A timer writes them where an exporter reads."""
    from appliance.cli.client import connect_admin  # noqa: PLC0415  (heavy: not for --help)
    from appliance.cli.metric_families import metric_families  # noqa: PLC0415
    from appliance.cli.prometheus_text import prometheus_text  # noqa: PLC0415

    with connect_admin(read_settings(config, state).layout) as daemon:
        text = prometheus_text(metric_families(daemon.status()))
    if out is None:
        typer.echo(text, nl=False)
    else:
        _replace(out, text)


def _replace(file: Path, text: str) -> None:
    """Whoever reads meanwhile sees the old file or the new one."""
    try:
        with tempfile.NamedTemporaryFile("w", dir=file.parent, prefix=f".{file.name}.", delete=False) as part:
            try:
                part.write(text)
                part.flush()
                os.fchmod(part.fileno(), _READABLE)
                Path(part.name).rename(file)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise Failed(f"{file} cannot be written: {error.strerror}", hint=f"look: ls -ld {file.parent}") from error
