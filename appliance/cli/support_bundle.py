"""`appliance support-bundle`: what a colleague needs to diagnose a box, in one file that its owner can read first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_facts, print_json, print_text, say

if TYPE_CHECKING:
    from appliance.maintenance.support.bundle import Bundle
    from appliance.settings import Settings

_MB = 1_000_000
_USUAL_MB = 8


def support_bundle(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR_OR_FILE",
            help="Directory, such as a stick, or new file to write. Default: here.",
        ),
    ] = None,
    since: Annotated[
        str,
        typer.Option(metavar="TIME", help="Journal from then on: 1 hour ago, 2026-12-31 08:00.", show_default=False),
    ] = "",
    max_mb: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=256, help="Size of all content in MB; older messages are left out."),
    ] = _USUAL_MB,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what would be in it, how large and why; write nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write one .tar.gz for a colleague: status, doctor, versions, settings, models, updates, journal.

    Never requests, answers, model files, keys or the environment; MANIFEST.txt in it names everything. Nothing is
    sent anywhere. Works while nothing runs; what cannot be read is named.
    """
    from appliance.maintenance.support.bundle_file import (  # noqa: PLC0415  (heavy: not for --help)
        place_of,
        require_writable,
        write_bundle,
    )
    from appliance.maintenance.support.journal import is_time  # noqa: PLC0415

    if since and not is_time(since):
        raise WrongUsage(f"--since is '{since}', which is no time", hint="--since '1 hour ago', --since 2026-12-31")

    if not preview:
        require_writable(place_of(out, "").parent)
    bundle = _collected(config, state, since, max_mb * _MB)
    if preview:
        _show(bundle, as_json=as_json)
        say("nothing was written; next: the same command without --preview")
        return
    target = place_of(out, bundle.name)
    size_bytes = write_bundle(bundle, target)
    if as_json:
        print_json(bundle.manifest() | {"file": str(target), "file_bytes": size_bytes})
        return
    print_facts(
        [
            ("written", f"{target}, {format_size(size_bytes)}"),
            *(("missing", f"{member.name}: {member.problem}") for member in bundle.members if member.problem),
            *(("left out", f"{member.name}: {member.cut}") for member in bundle.members if member.cut),
        ]
    )
    say(f"nothing was sent anywhere; next: look at what is in it: tar xzf {target}")


def _collected(config: Path | None, state: Path | None, since: str, room_bytes: int) -> "Bundle":
    from appliance.cli.support_parts import support_parts  # noqa: PLC0415  (heavy)
    from appliance.maintenance.support.bundle import collect  # noqa: PLC0415
    from appliance.maintenance.support.wording import Wording  # noqa: PLC0415
    from appliance.updates.box import utc_now  # noqa: PLC0415

    settings = _usable_settings(config, state)
    wording = Wording(_known_names(settings))
    parts = support_parts(config, state, settings, wording, since)
    return collect(parts, box=_serial(settings), now=utc_now(), room_bytes=room_bytes, wording=wording, tell=say)


def _usable_settings(config: Path | None, state: Path | None) -> "Settings":
    """Read the settings; where they are not valid, their defaults: the bundle then says what is wrong with them."""
    from appliance.settings import Settings  # noqa: PLC0415

    try:
        return read_settings(config, state)
    except WrongUsage as error:
        if config is not None and not config.exists():
            raise
        say(f"the settings are not valid, their defaults are taken: {error.message}")
        return Settings(state_directory=state)


def _known_names(settings: "Settings") -> frozenset[str]:
    from appliance.maintenance.support.models import known_names  # noqa: PLC0415

    try:
        return known_names(settings.layout)
    except Exception:  # noqa: BLE001  (a registry that is damaged in any way: models.json says so; then nothing is known)
        return frozenset()


def _serial(settings: "Settings") -> str:
    from appliance.errors import ApplianceError  # noqa: PLC0415
    from appliance.updates.device_store import DeviceStore  # noqa: PLC0415

    try:
        identity = DeviceStore(settings.layout.device).identity()
    except (ApplianceError, OSError):
        return ""
    return "" if identity is None else identity.serial


def _show(bundle: "Bundle", *, as_json: bool) -> None:
    from appliance.cli.output import print_table  # noqa: PLC0415

    if as_json:
        print_json(bundle.manifest())
        return
    print_text(f"{bundle.name}.tar.gz")
    rows = [
        (
            member.name,
            "missing" if member.problem else format_size(len(member.data)),
            "\n".join(
                text for text in (member.why, member.problem, member.cut and f"left out: {member.cut}") if text
            ),
        )
        for member in bundle.members
    ]
    print_table(("MEMBER", "SIZE", "WHY"), rows, right=("SIZE",))
