"""`appliance models verify | scrub | gc | rebuild`: keeping what is stored sound."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from appliance.cli.options import ConfigOption, JsonOption, StateOption, read_settings
from appliance.cli.output import format_size, print_json, print_table, print_text, progress, say
from appliance.cli.registry_access import counted, open_registry
from appliance.errors import Busy, Failed, NotFound
from appliance.model.identity import Digest, parse_digest, parse_model_name
from appliance.settings import Settings
from appliance.state_layout import StateLayout

if TYPE_CHECKING:
    from appliance.registry.rebuild import RebuildReport, Trust
    from appliance.registry.scrub import ScrubReport
    from appliance.updates.audit_entry import AuditEvent

_UNHURRIED = 19  # what serves comes first


def verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this model.", show_default=False)] = None,
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Read back every stored file and compare it with its digest. Changes nothing."""
    os.nice(_UNHURRIED)
    with open_registry(read_settings(config, state).layout) as registry, progress() as advance:
        problems = registry.verify(parse_model_name(name) if name is not None else None, advance)
    if as_json:
        print_json([{"subject": found.subject, "problem": found.problem, "hint": found.hint} for found in problems])
    elif problems:
        print_table(("WHERE", "PROBLEM"), [(found.subject, found.problem) for found in problems])
    else:
        print_text("everything is as it was stored")
    if problems:
        raise Failed(f"{counted(len(problems), 'problem')} found", hint=problems[0].hint)


def scrub(
    config: ConfigOption = None,
    state: StateOption = None,
    *,
    last: Annotated[bool, typer.Option("--last", help="Read nothing; show what is known.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read everything back from the disk and take damaged files out of service. Meant for once a month."""
    layout = read_settings(config, state).layout
    with open_registry(layout) as registry:
        if last:
            report = registry.scrub_report()
        else:
            os.nice(_UNHURRIED)
            before = set(registry.quarantined())
            with progress() as advance:
                report = registry.scrub(advance)
            _audit_findings(layout, report, before)
    if as_json:
        from appliance.cli.registry_documents import scrub_document  # noqa: PLC0415

        print_json(scrub_document(report))
    else:
        _show_scrub(report)
    if report.damaged:
        from appliance.registry.blob_store import BRING_AGAIN  # noqa: PLC0415

        raise Failed(f"{counted(len(report.damaged), 'damaged or missing file')}", hint=BRING_AGAIN)


def gc(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Delete the files of removed versions."""
    layout = read_settings(config, state).layout
    with open_registry(layout) as registry, progress() as advance:
        os.nice(_UNHURRIED)
        report = registry.collect_garbage(advance, keep=lambda: _wanted_by_an_update(layout))
    if as_json:
        print_json({"files": report.blobs, "size_bytes": report.size_bytes, "views": report.views})
    else:
        print_text(f"deleted {counted(report.blobs, 'file')}, {format_size(report.size_bytes)}")


def rebuild(config: ConfigOption = None, state: StateOption = None, *, as_json: JsonOption = False) -> None:
    """Make a lost or damaged registry anew from the stored files. The appliance must be stopped."""
    from appliance.cli.registry_documents import rebuild_document  # noqa: PLC0415
    from appliance.daemon.state_lock import daemon_lock  # noqa: PLC0415

    settings = read_settings(config, state)
    if not settings.layout.blobs.is_dir():
        raise NotFound(f"there are no stored models in {settings.layout.root}", hint="appliance models add DIR")
    try:
        with daemon_lock(settings.layout):
            report, aside = _rebuilt(settings)
    except Busy as error:
        raise Busy(error.message, hint="stop it first: systemctl stop appliance") from error
    if as_json:
        print_json(rebuild_document(report) | {"set_aside": aside})
    else:
        _show_rebuilt(report, aside)
    if report.problems:
        raise Failed(f"{counted(len(report.problems), 'version')} did not come back", hint=report.problems[0].hint)


def _rebuilt(settings: Settings) -> "tuple[RebuildReport, str]":
    from appliance.registry.database import Database  # noqa: PLC0415
    from appliance.registry.model_registry import ModelRegistry  # noqa: PLC0415
    from appliance.updates.audit_entry import AuditEvent  # noqa: PLC0415
    from appliance.updates.trial_check import trial_check  # noqa: PLC0415

    layout = settings.layout
    aside = Database(layout.database).set_aside()
    with ModelRegistry.open(layout) as registry, progress() as advance:
        report = registry.rebuild(lambda name: trial_check(name, settings.models), _trust(layout), advance)
    facts = {"versions": len(report.versions), "signed": len(report.signed), "problems": len(report.problems)}
    _audit(layout, AuditEvent.REGISTRY_REBUILT, facts)
    return report, str(aside or "")


def _trust(layout: StateLayout) -> "Trust":
    """Let the metadata that this box trusts say what was signed."""
    from appliance.bundle.layout import MODELS_ROLE_PREFIX  # noqa: PLC0415
    from appliance.registry.rebuild import Trust  # noqa: PLC0415
    from appliance.updates.trust_store import TrustStore  # noqa: PLC0415

    store = TrustStore(layout.trust)
    if not store.is_provisioned:
        return Trust(lambda _target, _sha256: False, ())
    roles = store.versions()
    publishers = [role.removeprefix(MODELS_ROLE_PREFIX) for role in roles if role.startswith(MODELS_ROLE_PREFIX)]
    return Trust(store.signs, publishers)


def _wanted_by_an_update(layout: StateLayout) -> list[Digest]:
    from appliance.updates.journal import Journal  # noqa: PLC0415

    update = Journal(layout.updates).read()
    return [] if update is None else [parse_digest(digest) for digest in update.keep]


def _audit_findings(layout: StateLayout, report: "ScrubReport", before: set[Digest]) -> None:
    from appliance.updates.audit_entry import AuditEvent  # noqa: PLC0415

    for damaged in report.damaged:
        if damaged.finding.digest not in before:
            facts: dict[str, str | int] = {
                "digest": damaged.finding.digest,
                "files": "; ".join(damaged.places),
                "problem": damaged.finding.problem,
            }
            _audit(layout, AuditEvent.CONTENT_QUARANTINED, facts)


def _audit(layout: StateLayout, event: "AuditEvent", facts: dict[str, Any]) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    from appliance.updates.audit_log import AuditLog  # noqa: PLC0415

    AuditLog(layout.audit, lambda: datetime.now(UTC)).append(event, facts)


def _show_scrub(report: "ScrubReport") -> None:
    from appliance.cli.registry_documents import time_text  # noqa: PLC0415

    if report.run is None:
        print_text("nothing was ever read back: appliance models scrub")
    else:
        read = f"{counted(report.run.files, 'file')}, {format_size(report.run.size_bytes)}"
        print_text(f"last read back {time_text(report.run.finished_at)}: {read}")
    if not report.damaged:
        print_text("nothing is known to be damaged")
        return
    rows = [
        (place, "in quarantine" if damaged.finding.quarantined else "missing", damaged.finding.problem)
        for damaged in report.damaged
        for place in damaged.places or (damaged.finding.digest,)
    ]
    print_table(("WHERE", "STATE", "PROBLEM"), rows)


def _show_rebuilt(report: "RebuildReport", aside: str) -> None:
    if aside:
        say(f"the damaged file is kept as {aside}")
    signed = {(each.name, each.version) for each in report.signed}
    rows: list[tuple[str, object, str]] = [
        (version.name, version.version, "signed" if (version.name, version.version) in signed else "not signed")
        for version in report.versions
    ]
    rows += [(problem.subject, "", problem.problem) for problem in report.problems]
    print_table(("MODEL", "VERSION", "RESULT"), rows, right=("VERSION",))
    for version in report.versions:
        say(f"next: appliance models activate {version.name} {version.version}")
