"""`appliance provision`: gives a box its owner and its name, once."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import print_facts, print_json, say
from appliance.errors import Busy, InvalidInput

if TYPE_CHECKING:
    from appliance.updates.provisioning import Provisioned


def provision(
    root: Annotated[
        Path, typer.Option(metavar="FILE", help="The owner's root of trust: root.json of the signing station.")
    ],
    serial: Annotated[str, typer.Option(metavar="SERIAL", help="Serial number of this box, as tickets name it.")],
    hardware: Annotated[str, typer.Option(metavar="NAME", help="Hardware, as tickets name it: jetson-orin-nx.")],
    site: Annotated[str, typer.Option(metavar="SITE", help="Where the box stands; signed settings are for a site.")],
    group: Annotated[
        list[str] | None, typer.Option(metavar="GROUP", help="A group that tickets may name. Any number of times.")
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Seal this box: from then on it installs and serves only what its owner signed.

    Repeatable with the same values after a power cut; with others it is refused. The daemon must not run.
    """
    from appliance.daemon.state_lock import daemon_lock  # noqa: PLC0415  (heavy: not for --help)
    from appliance.updates.adoption import know_owner, require_same_owner  # noqa: PLC0415
    from appliance.updates.provisioning import provision as seal  # noqa: PLC0415

    layout = read_settings(config, state).layout
    data = _read(root)
    try:
        with daemon_lock(layout):
            if not layout.identity.exists():
                require_same_owner(layout, data)
            done = seal(
                layout,
                data,
                serial=serial,
                hardware=hardware,
                site=site,
                groups=group or (),
                now=lambda: datetime.now(UTC),
            )
            know_owner(layout, data)
    except Busy as error:
        raise Busy(error.message, hint="stop it, so that it starts sealed: systemctl stop appliance") from error
    if as_json:
        print_json(_document(done))
    else:
        _show(done)
    if done.is_new and layout.database.exists():
        say("models that were added before are not signed: they are served again when a bundle brings them")


def _read(root: Path) -> bytes:
    from appliance.updates.provisioning import LARGEST_ROOT_BYTES  # noqa: PLC0415

    try:
        with root.open("rb") as stream:
            return stream.read(LARGEST_ROOT_BYTES + 1)
    except OSError as error:
        raise InvalidInput(
            f"the root file {root} cannot be read: {error.strerror}",
            hint="take the file root.json that the signing station wrote: appliance publish init",
        ) from error


def _document(done: "Provisioned") -> dict[str, object]:
    identity, root = done.identity, done.root
    return {
        "serial": identity.serial,
        "hardware": identity.hardware,
        "site": identity.site,
        "groups": list(identity.groups),
        "sealed_at": identity.sealed_at,
        "new": done.is_new,
        "receipt_key": identity.receipt_key,
        "root": {
            "version": root.version,
            "sha256": root.fingerprint,
            "threshold": root.threshold,
            "keys": list(root.key_ids),
        },
    }


def _show(done: "Provisioned") -> None:
    identity, root = done.identity, done.root
    print_facts(
        [
            ("serial", identity.serial),
            ("hardware", identity.hardware),
            ("site", identity.site),
            ("groups", ", ".join(identity.groups) or "none"),
            ("sealed", f"{identity.sealed_at}{'' if done.is_new else ' (before; nothing was changed)'}"),
            ("root", f"version {root.version}, SHA-256 {root.fingerprint}"),
            *(("root key", keyid) for keyid in root.key_ids),
            ("receipt key", identity.receipt_key),
        ]
    )
    say("compare the root's SHA-256 with what the signing station shows; keep the receipt key there")
    say("next: systemctl start appliance, then appliance update apply MEDIUM")
