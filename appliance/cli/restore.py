"""`appliance restore`: a box as it was when its backup was written."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.backup import manifest_document, manifest_facts
from appliance.cli.backup_locks import PassphraseFileOption, PrivateKeyOption, unlock_of
from appliance.cli.confirmation import YesOption, require_confirmed, stopped_state
from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_facts, print_json, progress, say

if TYPE_CHECKING:
    from appliance.maintenance.restore import Restored


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    key: PrivateKeyOption = None,
    passphrase_file: PassphraseFileOption = None,
    yes: YesOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what the box has now.")] = False,
    older: Annotated[
        bool, typer.Option("--older", help="Let models go back: the backup is older than the box.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a backup in place of what the box has: wholly or not at all, whenever the power is cut.

    The daemon must be stopped. What the box trusts and its version floors never get older; its software stays.
    """
    from appliance.maintenance.restore import plan_restore, present_box  # noqa: PLC0415  (heavy: not for --help)
    from appliance.maintenance.restore import restore as restore_state  # noqa: PLC0415
    from appliance.maintenance.restore_rules import Permission  # noqa: PLC0415
    from appliance.updates.adoption import know_owner  # noqa: PLC0415
    from appliance.updates.box import utc_now  # noqa: PLC0415
    from appliance.updates.trust_store import TrustStore  # noqa: PLC0415

    layout = read_settings(config, state).layout
    unlock, said = unlock_of(key, passphrase_file), Permission(replace=replace, older=older)
    if dry_run:
        with progress() as advance:
            done = plan_restore(layout, file, unlock, said, advance)
    else:
        with stopped_state(layout):
            present = present_box(layout)
            if not present.is_empty and replace:
                require_confirmed(present.serial, yes, f"replace what {layout.root} holds by the backup {file}")
            with progress() as advance:
                done = restore_state(layout, file, unlock, said, utc_now, advance)
            trust = TrustStore(layout.trust)
            # What the box had by itself may have been put there by whoever had taken the service over.
            if trust.is_provisioned and not done.trust_stays:
                know_owner(layout, trust.bootstrap())
    if as_json:
        print_json(_document(done, dry_run=dry_run))
    else:
        _show(done, file, dry_run=dry_run)


def _document(done: "Restored", *, dry_run: bool) -> dict[str, object]:
    return {
        "restored": not dry_run,
        "backup": manifest_document(done.manifest),
        "own_trust_stays": done.trust_stays,
        "reused_bytes": done.reused_bytes,
        "settings": str(done.settings or ""),
    }


def _show(done: "Restored", file: Path, *, dry_run: bool) -> None:
    trust = "the box's own stays: it is newer" if done.trust_stays else "from the backup; floors as high as before"
    print_facts(
        [
            ("would restore" if dry_run else "restored", str(file)),
            *manifest_facts(done.manifest),
            ("already here", format_size(done.reused_bytes)),
            ("trust", trust),
            ("settings", str(done.settings or "none in the backup")),
        ]
    )
    if dry_run:
        say("nothing was changed; next: the same command without --dry-run")
        return
    if done.settings is not None:
        say(f"the operator's settings of the backup were not put in force: compare {done.settings}")
    say("next: systemctl start appliance, then appliance status")
