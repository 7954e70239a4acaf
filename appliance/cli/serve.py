"""`appliance serve`: run the daemon in the foreground, as systemd does."""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from appliance.cli.service_status import ServiceEnded, ServiceStatus
from appliance.errors import ApplianceError
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
    rescue: Annotated[
        str,
        typer.Option(metavar="REASON", help="Serve no model, and take updates: no slot could start.", hidden=True),
    ] = "",
    rescue_seconds: Annotated[
        int, typer.Option(metavar="N", help="How long, till the slots get another chance. 0: for ever.", hidden=True)
    ] = 0,
) -> None:
    """Serve models over gRPC until SIGTERM.

    SIGHUP reads settings and models again. A Unix socket in the state directory is always served too.

    Exit status: 0 after SIGTERM, 65 state that cannot be understood, 73 state directory that cannot be written, 75
    another start can help, 78 settings, 1 anything else.
    """
    overrides = _overrides(state, models, listen)

    def read_settings() -> Settings:
        return load_settings(config, overrides)

    try:
        settings = read_settings()
        clean, starts_again = asyncio.run(_run(settings, read_settings, rescue, rescue_seconds))
    except ApplianceError as error:
        raise ServiceEnded(error) from error
    if clean and starts_again:
        raise typer.Exit(ServiceStatus.START_AGAIN)
    if not clean:
        # A thread is stuck in native code: waiting for it at exit would never end.
        sys.stderr.flush()
        os._exit(ServiceStatus.START_AGAIN if starts_again else ServiceStatus.FAILED)


async def _run(settings: Settings, read_settings: Any, rescue: str, rescue_seconds: int) -> tuple[bool, bool]:
    from appliance.daemon.app import Daemon  # noqa: PLC0415  (heavy: not for --help)
    from appliance.daemon.journal import configure_logging  # noqa: PLC0415
    from appliance.daemon.model_source import open_source  # noqa: PLC0415

    configure_logging(settings.log)
    removed = remove_outbound_variables()
    if removed:
        logger.warning("ignored variables that could lead data out: %s", ", ".join(sorted(removed)))
    with open_source(settings, rescue=bool(rescue)) as opened:
        daemon = Daemon(settings, opened, systemd_environment(), read_settings, rescue)
        if rescue_seconds:
            asyncio.get_running_loop().call_later(rescue_seconds, daemon.end_rescue)
        return await daemon.run(), daemon.starts_again


def _overrides(state: Path | None, models: Path | None, listen: list[str] | None) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    if state is not None:
        overrides["state_directory"] = state
    if models is not None:
        overrides["models_directory"] = models
    if listen:
        overrides["server"] = {"listen": listen}
    return overrides
