"""Cutting a bundle: a ticket, everything that vouches for it, and a copy of it all in a directory.

Order: the ticket's number is given away, the content is signed, snapshot and timestamp are signed last; only then is
anything copied. Whatever was killed before left numbers unused, never two contents under one number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp

from appliance.bundle.content_item import parse_item
from appliance.bundle.layout import (
    CONFIG_ROLE_PREFIX,
    LAYOUT_VERSION,
    PRODUCT,
    TICKET_TARGET,
    TICKETS_ROLE,
    parse_label,
)
from appliance.bundle.moments import moment_text
from appliance.bundle.ticket import Devices, Requirements, Ticket, TicketItem
from appliance.errors import InvalidInput, NotFound
from appliance.publish.bundle_writer import BundleContent, Progress, require_place, write_bundle
from appliance.publish.signed_targets import add_target, read_target
from appliance.publish.station import Station

DEFAULT_DAYS = 180


@dataclass(frozen=True, slots=True)
class CutRequest:
    """What shall be in a bundle. items: target paths; none: the newest of each model, and every configuration."""

    devices: Devices
    install_by: datetime | None = None
    items: Sequence[str] = ()
    hardware: Sequence[str] = ()
    requires: Requirements = field(default_factory=Requirements)
    allow_from: int = 0
    notes: str = ""
    ticket_id: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """A bundle that was written."""

    directory: Path
    ticket: Ticket
    size_bytes: int
    parts: int


def cut(station: Station, request: CutRequest, to: Path, progress: Progress, *, replace: bool = False) -> Cut:
    """Sign a ticket and write its bundle below `to`. Raises InvalidInput, NotFound, AlreadyExists, Failed."""
    require_place(to, replace=replace)
    chosen = _chosen(station, request.items)
    install_by = request.install_by or station.now() + timedelta(days=DEFAULT_DAYS)
    if install_by <= station.now():
        raise InvalidInput(f"install-by {moment_text(install_by)} has passed", hint="name a later day: --install-by")
    draft = _draft(station, request, chosen, install_by)
    station.show_root()
    station.signing.refresh_stale()
    _require_long_enough(station, install_by)
    tickets: Targets = station.store.latest(TICKETS_ROLE).signed
    number = station.take_number(above=_last_number(station, tickets))
    ticket = draft.model_copy(update={"seq": number, "id": request.ticket_id or f"t{number}"})
    tickets.targets.clear()  # a bundle carries one ticket
    add_target(station, tickets, TICKET_TARGET, ticket.to_bytes())
    station.signing.sign(TICKETS_ROLE, tickets, max(station.signing.expiry(TICKETS_ROLE), install_by))
    _sign_snapshot(station, install_by)
    content = _content(station, ticket, chosen)
    directory = write_bundle(station, content, to, progress, replace=replace)
    return Cut(directory, ticket, content.size_bytes, len(content.blobs))


def all_items(station: Station) -> dict[str, tuple[str, str]]:
    """Return every model and configuration that is signed: target path -> (role, SHA-256 in hex)."""
    found = {}
    for role in station.signing.delegated_in_order():
        for path, target in station.store.latest(role).signed.targets.items():
            if path.startswith(("models/", "config/", "software/")):
                found[path] = (role, target.hashes["sha256"])
    return dict(sorted(found.items()))


def _chosen(station: Station, wanted: Sequence[str]) -> dict[str, tuple[str, str]]:
    items = all_items(station)
    if not items:
        raise NotFound("there is nothing to put into a bundle", hint="appliance publish model add PACKAGE")
    for path in wanted:
        if path not in items:
            raise NotFound(
                f"'{path}' is not signed here, but: {', '.join(list(items)[:20])}", hint="appliance publish show"
            )
    return {path: items[path] for path in wanted or _newest(items)}


def _newest(items: dict[str, tuple[str, str]]) -> list[str]:
    """Return the newest version of each model, the newest release for each kind of box, and all the rest."""
    newest: dict[str, str] = {}
    for path in items:
        series, number = _series(path)
        if series not in newest or number > _series(newest[series])[1]:
            newest[series] = path
    return sorted(newest.values())


def _series(path: str) -> tuple[str, tuple[int, ...]]:
    """Say which items replace each other, and in which order: models/P/NAME/3.json -> models/P/NAME, 3."""
    directory, _, name = path.rpartition("/")
    version, _, kind_of_box = name.removesuffix(".json").partition("-")
    if path.startswith("config/") or not version.replace(".", "").isdigit():
        return path, ()
    return f"{directory}/{kind_of_box}", tuple(map(int, version.split(".")))


def _draft(station: Station, request: CutRequest, chosen: dict[str, tuple[str, str]], install_by: datetime) -> Ticket:
    """Make a ticket that has no number yet. Raises InvalidInput."""
    for group in request.devices.groups:
        parse_label(group, "group")
    try:
        draft = Ticket(
            id=request.ticket_id or "t1",
            product=PRODUCT,
            seq=1,
            issued=moment_text(station.now()),
            install_by=moment_text(install_by),
            devices=request.devices,
            hardware=tuple(request.hardware),
            requires=request.requires,
            items=tuple(
                TicketItem(path=path, sha256=sha256, kind=_kind(path)) for path, (_, sha256) in chosen.items()
            ),
            allow_from=request.allow_from,
            notes=request.notes,
        )
        draft.to_bytes()
    except ValueError as error:
        raise InvalidInput(f"the ticket cannot be written: {first_problem(error)}") from error
    return draft


def first_problem(error: ValueError) -> str:
    """Say what is wrong with a document's first wrong field."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"


def _last_number(station: Station, tickets: Targets) -> int:
    """Return the number of the last ticket that was signed, 0 if none was."""
    if TICKET_TARGET not in tickets.targets:
        return 0
    return Ticket.parse(read_target(station, TICKET_TARGET, tickets)).seq


def _kind(path: str) -> Any:
    return {"models": "model", "config": "config", "software": "software"}[path.partition("/")[0]]


def _require_long_enough(station: Station, install_by: datetime) -> None:
    """Refuse to write what a box would refuse before the ticket's last day."""
    for role in ("root", *station.signing.delegated_in_order()):
        expires = station.store.latest(role).signed.expires
        if role != TICKETS_ROLE and expires < install_by:
            raise InvalidInput(
                f"'{role}' expires at {moment_text(expires)}, before the ticket's last day {moment_text(install_by)}",
                hint=f"sign it again: appliance publish renew {role}; or choose an earlier day: --install-by",
            )


def _sign_snapshot(station: Station, expires: datetime) -> None:
    meta = {f"{role}.json": _meta_file(station, role) for role in station.signing.delegated_in_order()}
    station.signing.sign("snapshot", Snapshot(meta=meta), expires)
    timestamp = Timestamp(snapshot_meta=_meta_file(station, "snapshot"))
    station.signing.sign("timestamp", timestamp, expires)


def _meta_file(station: Station, role: str) -> MetaFile:
    """Name a role's newest version with its size and digest, so that bundles cannot be mixed."""
    version = station.store.versions(role)[-1]
    return MetaFile.from_data(version, station.store.path(role, version).read_bytes(), ["sha256"])


def _content(station: Station, ticket: Ticket, chosen: dict[str, tuple[str, str]]) -> BundleContent:
    roles = station.signing.delegated_in_order()
    metadata = {
        f"{number}.root.json": station.store.path("root", number) for number in station.store.versions("root")
    }
    for role in (*roles, "snapshot"):
        path = station.store.path(role, station.store.versions(role)[-1])
        metadata[path.name] = path
    metadata["timestamp.json"] = station.store.path("timestamp", station.store.versions("timestamp")[-1])
    signed: dict[str, Targets] = {role: station.store.latest(role).signed for role in roles}
    items = [
        parse_item(_kind(path), read_target(station, path, signed[role]))
        for path, (role, _) in chosen.items()
        if not role.startswith(CONFIG_ROLE_PREFIX)
    ]
    wanted = {path: role for path, (role, _) in chosen.items()} | {TICKET_TARGET: TICKETS_ROLE}
    wanted |= dict.fromkeys(signed["targets"].targets, "targets")
    targets = {path: signed[role].targets[path].hashes["sha256"] for path, role in wanted.items()}
    hint = {"product": PRODUCT, "layout": LAYOUT_VERSION, "tickets": [ticket.id]}
    return BundleContent(metadata, targets, items, hint)


def renew(station: Station, role: str) -> "Metadata[Any]":
    """Sign a role's content again, so that it holds longer. Raises NotFound."""
    return station.signing.sign(role, station.store.latest(role).signed)
