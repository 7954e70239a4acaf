"""What goes into bundles: `publish model add`, `publish config add`, `publish software add`, `publish cut`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.cli.options import JsonOption
from appliance.cli.output import format_size, print_facts, print_json, say
from appliance.cli.publish_options import (
    DEFAULT_STATION,
    KeysOption,
    PassphraseOption,
    StationOption,
    late_progress,
    opened_station,
)
from appliance.errors import InvalidInput

models = typer.Typer(help="Sign models.", no_args_is_help=True, rich_markup_mode=None)
releases = typer.Typer(help="Sign releases of this software.", no_args_is_help=True, rich_markup_mode=None)
configurations = typer.Typer(help="Sign settings for sites.", no_args_is_help=True, rich_markup_mode=None)


@models.command("add")
def add_model(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="Directory of a model package.")],
    publisher: Annotated[str, typer.Option(metavar="NAME", help="Who signs it: see publish delegate.")],
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Copy a package into the station and sign every version of it."""
    from appliance.publish.items import add_model as sign  # noqa: PLC0415  (heavy: not for --help)

    with opened_station(station, keys, passphrase_file) as opened, late_progress() as advance:
        added = sign(opened, package, publisher, advance)
    _show_added(added, as_json=as_json)


@releases.command("add")
def add_release(
    tree: Annotated[Path, typer.Argument(metavar="TREE", help="Made by scripts/build-software.")],
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also if a newer release is signed already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign a release of this software for the boxes whose Python and processor it was built for.

    Two of the release team's three keys must be at hand: --keys DIR.
    """
    from appliance.publish.software import add_software  # noqa: PLC0415  (heavy: not for --help)

    with opened_station(station, keys, passphrase_file) as opened, late_progress() as advance:
        added = add_software(opened, tree, advance, allow_older=force)
    _show_added([added], as_json=as_json)


@configurations.command("add")
def add_configuration(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Tables of appliance.toml.")],
    site: Annotated[str, typer.Option(metavar="NAME", help="For which site: see publish delegate.")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the configuration.")] = "main",
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Sign settings for the boxes of a site; what an operator sets on a box stands above them."""
    from appliance.cli.publish_receipt import read_file  # noqa: PLC0415
    from appliance.publish.items import add_config  # noqa: PLC0415

    with opened_station(station, keys, passphrase_file) as opened:
        added = add_config(opened, site, name, read_file(file))
    _show_added([added], as_json=as_json)


def cut(
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where the stick is mounted.")],
    device: Annotated[list[str] | None, typer.Option(metavar="SERIAL", help="For this box. Repeatable.")] = None,
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="For this group or site. Repeatable.")
    ] = None,
    item: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="What it brings, as `publish show` names it. Default: the newest of all."),
    ] = None,
    hardware: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only for this hardware.")] = None,
    install_by: Annotated[
        str, typer.Option(metavar="DATE", help="Last day, 2026-12-31. Default: in 180 days.", show_default=False)
    ] = "",
    allow_from: Annotated[int, typer.Option(min=0, help="Only for boxes that have installed this ticket.")] = 0,
    requires_software: Annotated[
        str, typer.Option(metavar="VERSION", help="Oldest software.", show_default=False)
    ] = "",
    requires_free_bytes: Annotated[int, typer.Option(min=0, help="Room that must be left on the box.")] = 0,
    notes: Annotated[str, typer.Option(metavar="TEXT", help="For the technician.", show_default=False)] = "",
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    all_devices: Annotated[bool, typer.Option("--all-devices", help="For every box of this owner.")] = False,
    requires_gpu: Annotated[bool, typer.Option("--requires-gpu", help="Only for boxes with a GPU.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="In the place of a bundle that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign a ticket and write its bundle: everything that the boxes named need, and nothing else."""
    from appliance.bundle.ticket import Devices, Requirements  # noqa: PLC0415
    from appliance.publish.cutting import CutRequest, first_problem  # noqa: PLC0415
    from appliance.publish.cutting import cut as cut_bundle  # noqa: PLC0415

    if bool(device or group) == all_devices:
        raise WrongUsage("for which boxes? expected --device or --group, or else --all-devices")
    try:
        devices = Devices(serials=tuple(device or ()), groups=tuple(group or ()), all=all_devices)
        requires = Requirements(software=requires_software, gpu=requires_gpu, free_bytes=requires_free_bytes)
    except InvalidInput as error:
        raise WrongUsage(error.message) from error
    except ValueError as error:
        raise WrongUsage(f"not for a ticket: {first_problem(error)}") from error
    request = CutRequest(
        devices=devices,
        install_by=_end_of_day(install_by) if install_by else None,
        items=item or (),
        hardware=hardware or (),
        requires=requires,
        allow_from=allow_from,
        notes=notes,
    )
    with opened_station(station, keys, passphrase_file) as opened, late_progress() as advance:
        done = cut_bundle(opened, request, to, advance, replace=replace)
    if as_json:
        print_json(
            {
                "bundle": str(done.directory),
                "ticket": done.ticket.id,
                "seq": done.ticket.seq,
                "install_by": done.ticket.install_by,
                "items": [each.path for each in done.ticket.items],
                "size_bytes": done.size_bytes,
            }
        )
        return
    print_facts(
        [
            ("bundle", done.directory),
            ("ticket", f"{done.ticket.id} ({done.ticket.seq})"),
            ("install by", done.ticket.install_by),
            *(("brings", each.path) for each in done.ticket.items),
            ("size", f"{format_size(done.size_bytes)} in {done.parts} files"),
        ]
    )
    say(f"next: appliance publish verify {done.directory}")


def _end_of_day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(hour=23, minute=59, second=59, tzinfo=UTC)
    except ValueError:
        raise WrongUsage(f"--install-by is '{text}', expected a day such as 2026-12-31") from None


def _show_added(added: list[str], *, as_json: bool) -> None:
    if as_json:
        print_json(added)
    else:
        print_facts([("signed", path) for path in added])
    say("next: appliance publish cut --to DIR --device SERIAL")
