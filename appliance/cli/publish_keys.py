"""`appliance publish key`: keys come and go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.exit_codes import WrongUsage
from appliance.cli.options import JsonOption
from appliance.cli.output import print_facts, print_json, say
from appliance.cli.publish_options import (
    DEFAULT_STATION,
    KeysOption,
    PassphraseOption,
    StationOption,
    opened_station,
)

if TYPE_CHECKING:
    from appliance.publish.key_changes import KeyChange

app = typer.Typer(help="Add, exchange and revoke keys.", no_args_is_help=True, rich_markup_mode=None)

RoleArgument = Annotated[str, typer.Argument(metavar="ROLE", help="See: publish show.", show_default=False)]
KeyArgument = Annotated[
    str, typer.Argument(metavar="KEY", help="Its first digits: see publish show.", show_default=False)
]


@app.command()
def add(
    role: RoleArgument,
    token: Annotated[
        str, typer.Option(metavar="LABEL", help="A key in this PKCS#11 token, not a new file.", show_default=False)
    ] = "",
    token_key: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Which key of the token (CKA_ID).")] = 2,
    token_module: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The token's PKCS#11 library.", show_default=False)
    ] = None,
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Give a role one more key: a new file, or one that is in a token (ECDSA P-256 or P-384)."""
    from appliance.publish.key_changes import TokenAddress, add_key  # noqa: PLC0415  (heavy: not for --help)

    if bool(token) != (token_module is not None):
        raise WrongUsage("--token and --token-module belong together")
    with opened_station(station, keys, passphrase_file) as opened:
        change = add_key(opened, role, TokenAddress(token_module, token, token_key) if token_module else None)
    _show(change, as_json=as_json)


@app.command()
def rotate(
    role: RoleArgument,
    key: KeyArgument,
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Put a new key in the place of one; boxes learn it with the next bundle."""
    from appliance.publish.key_changes import rotate_key  # noqa: PLC0415

    with opened_station(station, keys, passphrase_file) as opened:
        change = rotate_key(opened, role, key)
    _show(change, as_json=as_json)


@app.command()
def revoke(
    role: RoleArgument,
    key: KeyArgument,
    station: StationOption = DEFAULT_STATION,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Let a key never sign again; boxes learn it with the next bundle, whatever else becomes of that."""
    from appliance.publish.key_changes import revoke_key  # noqa: PLC0415

    with opened_station(station, keys, passphrase_file) as opened:
        change = revoke_key(opened, role, key)
    _show(change, as_json=as_json)


def _show(change: "KeyChange", *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "role": change.role,
                "added": change.added,
                "revoked": change.revoked,
                "signed_again": list(change.signed_again),
            }
        )
    else:
        facts = [("role", change.role), ("added", change.added), ("revoked", change.revoked)]
        print_facts([(name, value) for name, value in facts if value])
    say("boxes learn this with the next bundle: appliance publish cut")
