"""`appliance audit`: what happened on this box, and whether the log of it is whole."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import print_facts, print_json, print_table, print_text, say
from appliance.errors import Failed
from appliance.settings import StateLayout

if TYPE_CHECKING:
    from appliance.updates.audit_log import AuditLog

app = typer.Typer(help="Read and check the audit log.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def verify(
    exported: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Check an exported log instead; needs --key.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Public key of the box that exported it: appliance provision --json."),
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check every line of the log: nothing changed, deleted, moved, added or cut off. Else the exit status is 1."""
    if exported is not None:
        _verify_export(exported, key, as_json=as_json)
        return
    if key is not None:
        raise typer.BadParameter("goes together with --exported", param_hint="--key")
    from appliance.updates.device_store import DeviceStore  # noqa: PLC0415

    layout = read_settings(config, state).layout
    log = _open(layout)
    findings = log.verify()
    head = None if findings else log.head()
    if head is not None and not head.seq and DeviceStore(layout.device).is_sealed:
        findings.append(f"{layout.audit} holds no entry though this box was provisioned: the whole log was removed")
    if as_json:
        print_json({"seq": head.seq if head else None, "head": head.digest if head else None, "findings": findings})
    elif head is not None and not findings:
        print_text(f"the audit log is whole; it ends with entry {head.seq}, head {head.short}")
    _fail(findings, as_json=as_json)


@app.command()
def show(
    last: Annotated[int, typer.Option(metavar="N", min=1, help="How many of the newest entries.")] = 20,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the newest entries, oldest first."""
    layout = read_settings(config, state).layout
    entries = _open(layout).entries(last)
    if as_json:
        print_json([entry.document() for entry in entries])
    elif entries:
        rows = [
            (entry.seq, entry.t, entry.event, ", ".join(f"{name}={value}" for name, value in entry.facts.items()))
            for entry in entries
        ]
        print_table(("ENTRY", "TIME", "EVENT", "FACTS"), rows, right=("ENTRY",))
    else:
        say(f"there is no audit entry in {layout.audit}")


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it: a stick, a share.")],
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Write the log and a checkpoint of its end, signed with the box's own key, into a directory."""
    from appliance.updates.device_store import DeviceStore  # noqa: PLC0415

    layout = read_settings(config, state).layout
    exported = _open(layout).export(directory, DeviceStore(layout.device))
    document = {
        "log": str(exported.log),
        "checkpoint": str(exported.checkpoint),
        "seq": exported.head.seq,
        "head": exported.head.short,
    }
    if as_json:
        print_json(document)
        return
    print_facts(list(document.items()))
    say(f"next, where the box's key is known: appliance audit verify --exported {exported.log.name} --key HEX")


def _open(layout: StateLayout) -> "AuditLog":
    from appliance.updates.audit_log import AuditLog  # noqa: PLC0415  (heavy: not for --help)

    return AuditLog(layout.audit, lambda: datetime.now(UTC))


def _verify_export(exported: Path, key: str | None, *, as_json: bool) -> None:
    if key is None:
        raise typer.BadParameter("is needed to check an exported log", param_hint="--key")
    from appliance.updates.audit_export import verify_export  # noqa: PLC0415

    findings = verify_export(exported, key)
    if as_json:
        print_json({"findings": findings})
    elif not findings:
        print_text(f"{exported.name} is whole, and signed by the key {key[:16]}...")
    _fail(findings, as_json=as_json)


def _fail(findings: list[str], *, as_json: bool) -> None:
    if not findings:
        return
    if not as_json:
        for finding in findings:
            print_text(finding)
    raise Failed(
        f"the audit log is not what was written: {len(findings)} findings, the first: {findings[0]}",
        hint="keep it as it is and tell whoever answers for this box: appliance audit export DIR",
    )
