"""`appliance audit`: what happened on this box, and whether the log of it is whole."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import print_facts, print_json, print_table, print_text, say
from appliance.errors import Failed, InvalidInput, NotFound
from appliance.state_layout import StateLayout

if TYPE_CHECKING:
    from appliance.updates.audit_log import AuditLog
    from appliance.updates.device_store import DeviceStore

_HEAD = re.compile(r"[0-9a-f]{8,64}")

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
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="DIGITS", help="Digits on a technician's receipt: such an entry must be there."),
    ] = None,
    receipt: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A receipt of this box: its entry must be there.")
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check every line of the log: nothing changed, deleted, moved, added or cut off. Else the exit status is 1."""
    witnesses = [_digits(text) for text in head or ()]
    if exported is not None:
        _verify_export(exported, key, witnesses, as_json=as_json)
        return
    if key is not None:
        raise typer.BadParameter("goes together with --exported", param_hint="--key")
    from appliance.updates.device_store import DeviceStore  # noqa: PLC0415

    layout = read_settings(config, state).layout
    device, log = DeviceStore(layout.device), _open(layout)
    findings = log.verify([*witnesses, *(_witness(path, device) for path in receipt or ())])
    end = None if findings else log.head()
    if end is not None and not end.seq and device.is_sealed:
        findings.append(f"{layout.audit} holds no entry though this box was provisioned: the whole log was removed")
    if as_json:
        print_json({"seq": end.seq if end else None, "head": end.digest if end else None, "findings": findings})
    elif end is not None and not findings:
        print_text(f"the audit log is whole; it ends with entry {end.seq}, head {end.short}")
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


def _digits(text: str) -> str:
    if not _HEAD.fullmatch(text.lower()):
        raise typer.BadParameter(f"is '{text[:80]}', expected 8 to 64 of 0-9 a-f", param_hint="--head")
    return text.lower()


def _witness(path: Path, device: "DeviceStore") -> str:
    """Return the digest that a receipt of this very box shows."""
    from appliance.bundle.receipt import SignedReceipt  # noqa: PLC0415

    identity = device.identity()
    if identity is None:
        raise NotFound("this box was never provisioned, so no receipt is its own", hint="appliance provision --help")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"the receipt {path} cannot be read: {error.strerror}") from error
    return SignedReceipt.parse(data).verify(identity.receipt_key).audit_digest


def _verify_export(exported: Path, key: str | None, witnesses: list[str], *, as_json: bool) -> None:
    if key is None:
        raise typer.BadParameter("is needed to check an exported log", param_hint="--key")
    from appliance.updates.audit_export import verify_export  # noqa: PLC0415

    findings = verify_export(exported, key, witnesses)
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
