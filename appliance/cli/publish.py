"""`appliance publish`: the owner's signing station. Never needs a network."""

from pathlib import Path
from typing import Annotated

import typer

from appliance.cli import publish_content, publish_keys, publish_receipt
from appliance.cli.options import JsonOption
from appliance.cli.output import format_size, print_facts, print_json, print_table, print_text, progress, say
from appliance.cli.publish_options import (
    DEFAULT_STATION,
    KeysOption,
    PassphraseOption,
    StationOption,
    opened_station,
)

app = typer.Typer(
    help="Sign models, settings and software, and cut bundles for boxes.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(publish_content.models, name="model")
app.add_typer(publish_content.configurations, name="config")
app.add_typer(publish_content.releases, name="software")
app.add_typer(publish_keys.app, name="key")
app.add_typer(publish_receipt.app, name="receipt")
app.command()(publish_content.cut)


@app.command()
def init(
    station: StationOption = DEFAULT_STATION,
    passphrase_file: PassphraseOption = None,
    allow_expired_days: Annotated[
        int,
        typer.Option(
            min=0, max=3650, help="So many days late an operator at a box may still accept a bundle. Default: never."
        ),
    ] = 0,
    *,
    as_json: JsonOption = False,
) -> None:
    """Hold the owner's ceremony: make all keys, and the root of trust that boxes are provisioned with."""
    from appliance.bundle.policy import Policy  # noqa: PLC0415  (heavy: not for --help)
    from appliance.publish.ceremony import hold_ceremony  # noqa: PLC0415

    with opened_station(station, None, passphrase_file, new=True) as opened:
        safes = hold_ceremony(opened, Policy(allow_expired_days=allow_expired_days))
        root, fingerprint = opened.root_file, opened.root_fingerprint()
    if as_json:
        print_json(
            [
                {"role": safe.role, "files": list(safe.files), "threshold": safe.threshold, "safe": safe.safe}
                for safe in safes
            ]
        )
    else:
        rows = [
            (safe.role, f"{safe.threshold} of {len(safe.files)}", safe.safe, "\n".join(safe.files)) for safe in safes
        ]
        print_table(("ROLE", "MUST SIGN", "BELONGS TO", f"FILES IN {station}/keys"), rows)
    say(f"give {root} to every box: appliance provision --root {root.name} ...")
    say(f"and on paper, for whoever sets boxes up: the root's SHA-256 is {fingerprint}")
    say("copy the station's directory to a second place now, then move the key files into their safes")
    say("next: appliance publish delegate --publisher NAME")


@app.command()
def delegate(
    publisher: Annotated[
        str, typer.Option(metavar="NAME", help="Let somebody sign models under this name.", show_default=False)
    ] = "",
    site: Annotated[
        str, typer.Option(metavar="NAME", help="Let a site's administrator sign its settings.", show_default=False)
    ] = "",
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Let somebody sign: a publisher of models, or the administrator of a site. Makes their key."""
    from appliance.cli.exit_codes import WrongUsage  # noqa: PLC0415
    from appliance.publish.ceremony import safe_list  # noqa: PLC0415
    from appliance.publish.items import add_publisher, add_site  # noqa: PLC0415

    if bool(publisher) == bool(site):
        raise WrongUsage("expected either --publisher or --site")
    with opened_station(station, keys, passphrase_file) as opened:
        role = add_publisher(opened, publisher) if publisher else add_site(opened, site)
        safe = safe_list(opened, role)
    if as_json:
        print_json({"role": role, "files": list(safe.files)})
    else:
        print_facts([("role", role), ("belongs to", safe.safe), *(("key file", file) for file in safe.files)])


@app.command()
def show(station: StationOption = DEFAULT_STATION, *, as_json: JsonOption = False) -> None:
    """Show what is signed, by whom, and until when. Needs no key."""
    from appliance.bundle.moments import moment_text  # noqa: PLC0415
    from appliance.publish.cutting import all_items  # noqa: PLC0415
    from appliance.publish.key_changes import role_keys  # noqa: PLC0415

    with opened_station(station, None, None) as opened:
        keys = role_keys(opened)
        expiries = {
            role: moment_text(opened.store.latest(role).signed.expires)
            for role in keys
            if opened.store.versions(role)
        }
        items = all_items(opened)
        fingerprint = opened.root_fingerprint()
    if as_json:
        roles = {
            role: {"keys": key_ids, "threshold": threshold, "expires": expiries.get(role, "")}
            for role, (key_ids, threshold) in keys.items()
        }
        signed = {path: {"role": role, "sha256": sha256} for path, (role, sha256) in items.items()}
        print_json({"root_sha256": fingerprint, "roles": roles, "items": signed})
        return
    rows = [
        (
            role,
            f"{threshold} of {len(key_ids)}",
            expiries.get(role, "with the next bundle"),
            "\n".join(k[:16] for k in key_ids),
        )
        for role, (key_ids, threshold) in keys.items()
    ]
    print_table(("ROLE", "MUST SIGN", "EXPIRES", "KEYS"), rows)
    print_text("")
    print_facts([("root", f"SHA-256 {fingerprint}")])
    print_text("")
    print_table(("ITEM", "SIGNED BY"), [(path, role) for path, (role, _) in items.items()])


@app.command()
def renew(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="Such as targets, or models-NAME.", show_default=False)],
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Sign a role's content again, so that it holds longer."""
    from appliance.bundle.moments import moment_text  # noqa: PLC0415
    from appliance.publish.cutting import renew as sign_again  # noqa: PLC0415

    with opened_station(station, keys, passphrase_file) as opened:
        metadata = sign_again(opened, role)
    facts = {
        "role": role,
        "version": metadata.signed.version,
        "expires": moment_text(metadata.signed.expires),
    }
    if as_json:
        print_json(facts)
    else:
        print_facts(list(facts.items()))


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="The bundle, or the stick that it is on.")],
    station: StationOption = DEFAULT_STATION,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check a bundle as a box will, and every byte of its content. Needs no key."""
    from appliance.publish.bundle_check import check_bundle  # noqa: PLC0415

    with opened_station(station, None, None) as opened, progress() as advance:
        first_root = opened.store.path("root", 1).read_bytes()
        checked = check_bundle(bundle, first_root, opened.now(), advance)
    facts = {
        "bundle": str(checked.directory),
        "ticket": checked.ticket.id,
        "seq": checked.ticket.seq,
        "install_by": checked.ticket.install_by,
        "root": checked.root_version,
        "parts": checked.parts,
        "left_out": checked.left_out,
    }
    if as_json:
        print_json(facts | {"models": [f"{item.name} {item.version}" for item in checked.items]})
        return
    print_facts([(name.replace("_", " "), value) for name, value in facts.items()])
    rows = [(item.name, item.version, format_size(item.size_bytes)) for item in checked.items]
    print_table(("MODEL", "VERSION", "SIZE"), rows, right=("VERSION", "SIZE"))


@app.command()
def thin(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="A whole bundle.")],
    inventory: Annotated[
        Path, typer.Option(metavar="FILE", help="What the box has: appliance update inventory FILE, on the box.")
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where the thin bundle goes.")],
    station: StationOption = DEFAULT_STATION,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle without what a box has already."""
    from appliance.bundle.inventory import Inventory  # noqa: PLC0415
    from appliance.publish.bundle_check import check_bundle  # noqa: PLC0415
    from appliance.publish.thinning import write_thin  # noqa: PLC0415

    there = Inventory.parse(publish_receipt.read_file(inventory))
    with opened_station(station, None, None) as opened, progress() as advance:
        first_root = opened.store.path("root", 1).read_bytes()
        path, saved = write_thin(check_bundle(bundle, first_root, opened.now(), advance), there, to)
    if as_json:
        print_json({"bundle": str(path), "serial": there.serial, "left_out_bytes": saved})
    else:
        print_facts([("bundle", path), ("leaves out", f"{format_size(saved)} that {there.serial} has")])
