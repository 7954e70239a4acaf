"""`appliance wipe`: the end of a box in its owner's hands; `check-erasure`: its certificate, looked at elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.cli.confirmation import YesOption, require_confirmed, told_to_stop
from appliance.cli.exit_codes import WrongUsage
from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_facts, print_json, progress, say
from appliance.errors import InvalidInput

if TYPE_CHECKING:
    from appliance.maintenance.erasure_certificate import ErasureCertificate, SignedErasureCertificate
    from appliance.maintenance.wipe import WipePlan

_LARGEST_CERTIFICATE_BYTES = 1024 * 1024


def wipe(
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the certificate of erasure goes: on a stick, not on this box."),
    ] = None,
    yes: YesOption = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be erased, erase nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase this box for good: its key first, then all data, then a certificate of it. The daemon must be stopped.

    Files are overwritten once and deleted; the certificate says how far that reaches on this medium. After a power
    cut the same command goes on. The software stays.
    """
    from appliance.daemon.state_lock import state_lock  # noqa: PLC0415  (heavy: not for --help)
    from appliance.maintenance.wipe import plan_wipe  # noqa: PLC0415
    from appliance.maintenance.wipe import wipe as erase  # noqa: PLC0415
    from appliance.updates.box import utc_now  # noqa: PLC0415

    layout = read_settings(config, state).layout
    if dry_run:
        plan = plan_wipe(layout)
        print_json(_plan_document(plan)) if as_json else _show_plan(plan)
        return
    if certificate is None:
        raise WrongUsage(
            "no place for the certificate was named", hint="name a file on a stick: appliance wipe --certificate FILE"
        )
    with told_to_stop(), state_lock(layout):
        plan = plan_wipe(layout)
        doing = f"erase {plan.files} files, {format_size(plan.size_bytes)}, and the key of this box"
        require_confirmed(plan.serial, yes, doing)
        with progress() as advance:
            signed = erase(layout, certificate, utc_now, advance)
    if as_json:
        print_json(_document(signed) | {"file": str(certificate)})
        return
    _show(signed.certificate)
    if not signed.voucher_signature:
        say("the certificate is not signed: this box had no key")
    say(f"next: take {certificate.name} to the signing station, and check it with the receipt key that is kept there")


def check_erasure(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A certificate of erasure.")],
    key: Annotated[str, typer.Option("--key", metavar="HEX", help="The box's receipt key, as it was provisioned.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Check a certificate of erasure with the receipt key of the box. Works on any machine."""
    from appliance.maintenance.erasure_certificate import SignedErasureCertificate  # noqa: PLC0415

    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST_CERTIFICATE_BYTES)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", hint="name the certificate's file") from error
    signed = SignedErasureCertificate.parse(data)
    found = signed.verify(key)
    if as_json:
        print_json(_document(signed) | {"signed": True})
        return
    _show(found)


def _document(signed: "SignedErasureCertificate") -> dict[str, object]:
    return {
        "erased": True,
        "signed": bool(signed.voucher_signature),
        "certificate": signed.certificate.model_dump(mode="json", by_alias=True),
    }


def _plan_document(plan: "WipePlan") -> dict[str, object]:
    return {
        "erased": False,
        "serial": plan.serial,
        "begun": plan.begun,
        "files": plan.files,
        "size_bytes": plan.size_bytes,
        "places": plan.places,
    }


def _show_plan(plan: "WipePlan") -> None:
    print_facts(
        [
            ("box", plan.serial or "never provisioned"),
            ("would erase", f"{plan.files} files, {format_size(plan.size_bytes)}"),
            *(("places", place) for place in plan.places),
        ]
    )
    say("an erasure was begun and would go on" if plan.begun else "nothing was changed")
    say("next: appliance wipe --certificate FILE, the file on a stick")


def _show(certificate: "ErasureCertificate") -> None:
    print_facts(
        [
            ("erased", certificate.serial or "a box that nobody had provisioned"),
            ("from, to", f"{certificate.began}, {certificate.ended} by the box's clock"),
            ("files", f"{certificate.files}, {format_size(certificate.size_bytes)}"),
            *(("done", sentence) for sentence in certificate.did),
            *(("reach", sentence) for sentence in certificate.reach),
            *(("not erased", sentence) for sentence in certificate.left),
            ("audit log", f"ended with entry {certificate.audit_seq}, {certificate.audit_digest[:8]}"),
        ]
    )
