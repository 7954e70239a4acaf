"""`appliance serve`: run the daemon in the foreground, as systemd does."""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.process_environment import remove_outbound_variables, systemd_environment
from appliance.settings import Settings, load_settings

logger = logging.getLogger(__name__)


def serve(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings file. Default: /etc/appliance/appliance.toml, if it exists."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Registry, sockets and lock. Default: /var/lib/appliance on an installed box, else ./.appliance.",
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Serve the packages in DIR directly, without the registry (development)."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDR", help="host:port or unix:/path; may be repeated. Default: 127.0.0.1:8001."),
    ] = None,
) -> None:
    """Serve models over gRPC until SIGTERM.

    SIGHUP reads settings and models again. A Unix socket in the state directory is always served too.
    """
    overrides = _overrides(state, models, listen)

    def read_settings() -> Settings:
        return load_settings(config, overrides)

    settings = read_settings()
    clean = asyncio.run(_run(settings, read_settings))
    if not clean:
        # A thread is stuck in native code: waiting for it at exit would never end.
        sys.stderr.flush()
        os._exit(1)


async def _run(settings: Settings, read_settings: Any) -> bool:
    from appliance.daemon.app import Daemon  # noqa: PLC0415  (heavy: not for --help)
    from appliance.daemon.journal import configure_logging  # noqa: PLC0415
    from appliance.daemon.model_source import open_source  # noqa: PLC0415

    configure_logging(settings.log)
    removed = remove_outbound_variables()
    if removed:
        logger.warning("ignored variables that could lead data out: %s", ", ".join(sorted(removed)))
    with open_source(settings) as opened:
        return await Daemon(settings, opened, systemd_environment(), read_settings).run()


def _overrides(state: Path | None, models: Path | None, listen: list[str] | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if state is not None:
        overrides["state_directory"] = state
    if models is not None:
        overrides["models_directory"] = models
    if listen:
        overrides["server"] = {"listen": listen}
    return overrides
