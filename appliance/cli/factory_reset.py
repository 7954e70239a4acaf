"""`appliance factory-reset`: a box as it was when it had just been provisioned."""

from typing import Annotated

import typer

from appliance.cli.confirmation import YesOption, require_confirmed, stopped_state
from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_facts, print_json, say


def factory_reset(
    yes: YesOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, delete nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete models, registry, tickets, the site's settings and engines. The daemon must be stopped.

    The box keeps its identity and key, what it trusts, its audit log and its software; settings in /etc stay. Deleted
    is not erased: to hand the box or its disk to somebody else, use: appliance wipe.
    """
    from appliance.maintenance.factory_reset import factory_reset as reset  # noqa: PLC0415  (heavy: not for --help)
    from appliance.maintenance.factory_reset import plan_reset  # noqa: PLC0415
    from appliance.updates.box import utc_now  # noqa: PLC0415

    layout = read_settings(config, state).layout
    if dry_run:
        done = plan_reset(layout)
    else:
        with stopped_state(layout):
            plan = plan_reset(layout)
            require_confirmed(plan.serial, yes, f"delete {plan.files} files, {format_size(plan.size_bytes)}")
            done = reset(layout, utc_now)
    if as_json:
        document = {"serial": done.serial, "files": done.files, "size_bytes": done.size_bytes, "deleted": done.goes}
        print_json(document | {"reset": not dry_run})
        return
    print_facts(
        [
            ("box", done.serial or "never provisioned"),
            ("would delete" if dry_run else "deleted", f"{done.files} files, {format_size(done.size_bytes)}"),
            *(("places", place) for place in done.goes),
            ("stays", "identity and key, trust, audit log, software"),
        ]
    )
    if dry_run:
        say("nothing was changed; next: the same command without --dry-run")
    else:
        say("next: systemctl start appliance, then appliance update apply MEDIUM")
