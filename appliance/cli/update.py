"""`appliance update`: what a technician does with a stick."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_facts, print_json, print_table, print_text, progress, say
from appliance.errors import Failed
from appliance.settings import Settings

if TYPE_CHECKING:
    from appliance.updates.outcome import UpdateOutcome
    from appliance.updates.preparation import ApplyRequest

app = typer.Typer(
    help="Install signed bundles from a stick, and take them back.", no_args_is_help=True, rich_markup_mode=None
)

MediumArgument = Annotated[
    Path,
    typer.Argument(
        metavar="MEDIUM", help="Where the stick is mounted, or a directory that holds the bundle.", show_default=False
    ),
]
BundleOption = Annotated[
    str, typer.Option(metavar="NAME", help="Which bundle, if there are several.", show_default=False)
]
ExpiredOption = Annotated[
    bool,
    typer.Option(
        "--allow-expired",
        help="Accept a bundle whose time is over, as far as the owner's policy goes; only at the box's own console.",
    ),
]


NoReceiptOption = Annotated[bool, typer.Option("--no-receipt", help="Write nothing to the medium.")]


@app.command()
def inspect(
    medium: MediumArgument,
    bundle: BundleOption = "",
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say whether this box would take a medium's bundle, and what it brings. Changes nothing."""
    from appliance.cli.update_asking import inspected  # noqa: PLC0415  (heavy: not for --help)

    _end(inspected(read_settings(config, state), medium, bundle), as_json=as_json)


@app.command()
def apply(
    medium: MediumArgument,
    bundle: BundleOption = "",
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    allow_expired: ExpiredOption = False,
    no_receipt: NoReceiptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Install a medium's bundle: verify, copy, try beside what serves, switch over; or take it all back."""
    request = _request(medium, bundle, allow_expired=allow_expired, retry=False, no_receipt=no_receipt)
    _apply(read_settings(config, state), request, as_json=as_json)


@app.command()
def retry(
    medium: MediumArgument,
    bundle: BundleOption = "",
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    allow_expired: ExpiredOption = False,
    no_receipt: NoReceiptOption = False,
    as_json: JsonOption = False,
) -> None:
    """Install a bundle again that did not come up on this box before, or was taken back."""
    request = _request(medium, bundle, allow_expired=allow_expired, retry=True, no_receipt=no_receipt)
    _apply(read_settings(config, state), request, as_json=as_json)


@app.command()
def rollback(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Let serve again what served before the last update."""
    from appliance.cli.update_asking import rolled_back  # noqa: PLC0415

    with progress() as advance:
        outcome = rolled_back(read_settings(config, state), advance)
    _end(outcome, as_json=as_json)


@app.command()
def arrived(
    medium: MediumArgument,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Look at a medium as the box does by itself when one is plugged in: `updates.auto_apply` in the settings.

    What is not installed waits for a person, and that is no failure.
    """
    from appliance.cli.update_arrival import arrived as look  # noqa: PLC0415  (heavy: not for --help)

    with progress() as advance:
        outcome = look(read_settings(config, state), medium.absolute(), advance)
    _end(outcome, as_json=as_json)


@app.command()
def status(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Show who this box is, whom it trusts, and what became of each ticket."""
    from appliance.cli.update_status import update_status  # noqa: PLC0415

    document = update_status(read_settings(config, state))
    if as_json:
        print_json(document)
        return
    print_facts([(name.replace("_", " "), value) for name, value in document.items() if not isinstance(value, list)])
    if document["tickets"]:
        print_text("")
        shown = ("seq", "id", "state", "accepted_at", "reason")
        rows = [[ticket[name] for name in shown] for ticket in document["tickets"]]
        print_table(("SEQ", "TICKET", "STATE", "ACCEPTED", "REASON"), rows, right=("SEQ",))


@app.command()
def receipts(
    medium: Annotated[
        Path | None, typer.Argument(metavar="[MEDIUM]", help="Where a stick is mounted that can be written to.")
    ] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Name the receipts that wait on this box for a stick, or put them on one."""
    from appliance.updates.kept_receipts import Delivery, KeptReceipts  # noqa: PLC0415  (heavy: not for --help)

    kept = KeptReceipts(read_settings(config, state).layout.receipts)
    done = Delivery((), tuple(kept.waiting())) if medium is None else kept.deliver(medium.absolute())
    if as_json:
        print_json({"delivered": done.paths, "waiting": done.waiting})
    else:
        for line in done.waiting if medium is None else done.paths:
            print_text(line)
    if done.problem:
        raise Failed(
            f"{len(done.waiting)} receipts stay on this box: {done.problem}",
            hint="take a stick that can be written to: appliance update receipts MEDIUM",
        )
    if not (done.waiting or done.paths):
        say("no receipt waits")


@app.command()
def inventory(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes.", show_default=False)],
    config: ConfigOption = None,
    state: StateOption = None,
) -> None:
    """Write down which content this box has, so that a signing station can leave it out of a bundle."""
    from appliance.cli.update_status import write_inventory  # noqa: PLC0415

    count = write_inventory(read_settings(config, state), file)
    say(f"{file} names {count} files")
    say(f"next, at the signing station: appliance publish thin DIR --inventory {file.name} --to DIR")


def _request(medium: Path, bundle: str, *, allow_expired: bool, retry: bool, no_receipt: bool) -> "ApplyRequest":
    from appliance.cli.update_asking import require_local_console  # noqa: PLC0415
    from appliance.updates.preparation import ApplyRequest  # noqa: PLC0415

    if allow_expired:
        require_local_console()
    return ApplyRequest(medium.absolute(), bundle, allow_expired, retry, no_receipt)


def _apply(settings: Settings, request: "ApplyRequest", *, as_json: bool) -> None:
    from appliance.cli.update_asking import applied  # noqa: PLC0415

    with progress() as advance:
        outcome = applied(settings, request, advance)
    _end(outcome, as_json=as_json)


def _end(outcome: "UpdateOutcome", *, as_json: bool) -> None:
    """Print the outcome; what is not good ends with its own exit status."""
    if as_json:
        print_json(outcome.document())
    else:
        _show(outcome)
    error = outcome.error()
    if error is not None:
        raise error
    if outcome.hint and not as_json:
        say(f"next: {outcome.hint}")


def _show(outcome: "UpdateOutcome") -> None:
    if not outcome.code:
        print_text(outcome.message)
    facts = [
        ("ticket", f"{outcome.ticket_id} ({outcome.ticket_seq})" if outcome.ticket_id else ""),
        ("notes", outcome.notes),
        ("settings", outcome.settings),
        *(("not for this site", path) for path in outcome.skipped),
        *(("after a restart", name) for name in outcome.needs_restart),
        ("receipt", outcome.receipt),
        ("no receipt", outcome.receipt_problem),
        ("audit", outcome.audit_head),
    ]
    print_facts([(name, value) for name, value in facts if value])
    if outcome.models:
        rows = [
            (model.name, model.version, format_size(model.size_bytes), format_size(model.stage_bytes))
            for model in outcome.models
        ]
        print_table(("MODEL", "VERSION", "SIZE", "TO COPY"), rows, right=("VERSION", "SIZE", "TO COPY"))
