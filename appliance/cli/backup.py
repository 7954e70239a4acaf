"""`appliance backup`: this box in one encrypted file, while it serves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli.backup_locks import (
    PassphraseFileOption,
    PrivateKeyOption,
    locks_of,
    new_passphrase,
    unlock_of,
)
from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_facts, print_json, progress, say
from appliance.settings import SYSTEM_SETTINGS_FILE

if TYPE_CHECKING:
    from appliance.maintenance.backup_manifest import BackupManifest

app = typer.Typer(no_args_is_help=True, help="Back up this box into one encrypted file, and check such files.")


@app.command()
def create(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write; it must not be there.")],
    to: Annotated[
        list[Path] | None,
        typer.Option(
            "--to",
            metavar="KEY.pub",
            help="Public key that the backup is for, instead of a passphrase. Any number of times.",
        ),
    ] = None,
    passphrase_file: PassphraseFileOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be in it, write nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a backup: models, registry, identity with the box's key, trust, settings, audit log.

    The daemon may go on serving. The software is not in it, nor TLS keys that systemd hands over.
    """
    from appliance.maintenance.backup import BackupRequest, plan_backup, write_backup  # noqa: PLC0415  (heavy: not for --help)
    from appliance.updates.box import utc_now  # noqa: PLC0415

    layout = read_settings(config, state).layout
    if dry_run:
        planned = plan_backup(layout, config or SYSTEM_SETTINGS_FILE, utc_now)
        if as_json:
            print_json(manifest_document(planned) | {"file": "", "file_bytes": 0})
            return
        print_facts([("would back up to", file), *manifest_facts(planned)])
        say("nothing was written; next: the same command without --dry-run")
        return
    request = BackupRequest(file, config or SYSTEM_SETTINGS_FILE, locks_of(to or [], passphrase_file))
    with progress() as advance:
        manifest = write_backup(layout, request, utc_now, advance)
    size_bytes = file.stat().st_size
    if as_json:
        print_json(manifest_document(manifest) | {"file": str(file), "file_bytes": size_bytes})
        return
    print_facts([("backup", f"{file}, {format_size(size_bytes)}"), *manifest_facts(manifest)])
    say(f"next: keep it away from this box, and check it there: appliance backup verify {file.name}")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    key: PrivateKeyOption = None,
    passphrase_file: PassphraseFileOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Read a backup to its end and check every byte of it. Writes nothing; works on any machine."""
    from appliance.maintenance.backup_reading import verify_backup  # noqa: PLC0415

    unlock = unlock_of(key, passphrase_file)
    with progress() as advance:
        manifest = verify_backup(file, unlock, advance)
    if as_json:
        print_json(manifest_document(manifest) | {"file": str(file), "whole": True})
        return
    print_facts([("backup", f"{file}: whole"), *manifest_facts(manifest)])


@app.command()
def key(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Private key to write; its public half goes to FILE.pub.")
    ],
    passphrase_file: PassphraseFileOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a pair of keys for backups, away from the boxes: they get the public half only, and cannot read what they
    write.
    """
    from appliance.maintenance.backup_key import make_key_pair  # noqa: PLC0415

    public = make_key_pair(file, new_passphrase(passphrase_file, f"for the new {file.name}"))
    if as_json:
        print_json({"private_key": str(file), "public_key": str(public)})
        return
    print_facts([("private key", f"{file}: keep it in a safe"), ("public key", f"{public}: bring it to the boxes")])
    say(f"next: on a box: appliance backup create FILE --to {public.name}")


def manifest_facts(manifest: "BackupManifest") -> list[tuple[str, object]]:
    """Describe a backup for people."""
    box = f"{manifest.serial} ({manifest.hardware}, {manifest.site})" if manifest.serial else "never provisioned"
    ticket = f"{manifest.ticket_id} (number {manifest.ticket_seq})" if manifest.ticket_seq else "none"
    return [
        ("box", box),
        ("written", f"{manifest.created} by the box's clock, appliance {manifest.software}"),
        ("content", f"{manifest.files} files, {format_size(manifest.size_bytes)}"),
        *(("served", model) for model in manifest.models or ("nothing",)),
        ("newest ticket", ticket),
        ("audit log", f"{manifest.audit_seq} entries, head {manifest.audit_digest[:8]}"),
    ]


def manifest_document(manifest: "BackupManifest") -> dict[str, Any]:
    """Describe a backup for programs."""
    return manifest.model_dump(mode="json", by_alias=True)
