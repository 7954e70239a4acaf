"""What a station checks of a bundle before it leaves the house: all that a box will, and every byte of content."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from appliance.bundle.content_item import ContentItem, parse_item
from appliance.bundle.layout import (
    BLOBS_DIRECTORY,
    BUNDLE_DIRECTORY,
    HINT_FILE,
    METADATA_DIRECTORY,
    PRODUCT,
    TARGETS_DIRECTORY,
    TICKET_TARGET,
    hashed_target,
)
from appliance.bundle.oci_layers import Part
from appliance.bundle.ticket import Ticket
from appliance.durable import disk_errors, hash_file
from appliance.errors import InvalidInput, NotFound
from appliance.model.identity import digest_hex
from appliance.publish.bundle_metadata import CUT_AGAIN, BundleMetadata
from appliance.settings import check_site_settings

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class CheckedBundle:
    """A bundle that is whole. left_out: parts that a thin bundle does without."""

    directory: Path
    ticket: Ticket
    root_version: int
    items: tuple[ContentItem, ...]
    parts: int
    left_out: int


def check_bundle(place: Path, first_root: bytes, now: datetime, progress: Progress) -> CheckedBundle:
    """Check signatures, times, targets and every part. Raises InvalidInput, NotFound, Failed: the first problem."""
    directory = place if (place / METADATA_DIRECTORY).is_dir() else place / BUNDLE_DIRECTORY
    if not (directory / METADATA_DIRECTORY).is_dir():
        raise NotFound(f"there is no bundle in {place}", hint="name the directory that `publish cut` wrote to")
    with disk_errors(f"reading {directory}"):
        metadata = BundleMetadata(directory, first_root, now)
        ticket = _ticket(directory, metadata, now)
        for path in metadata.of_targets():
            _target(directory, metadata, path)
        items = _items(directory, metadata, ticket)
        present, left_out = _check_parts(directory, items, progress)
    return CheckedBundle(directory, ticket, metadata.root.version, items, present, left_out)


def read_hint(directory: Path) -> dict[str, Any]:
    """Return what the bundle says of itself without a signature. Raises InvalidInput."""
    try:
        hint = json.loads((directory / HINT_FILE).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise InvalidInput(f"{directory / HINT_FILE} is missing or damaged", hint=CUT_AGAIN) from error
    if not isinstance(hint, dict):
        raise InvalidInput(f"{directory / HINT_FILE} is not a JSON object", hint=CUT_AGAIN)
    return hint


def _ticket(directory: Path, metadata: BundleMetadata, now: datetime) -> Ticket:
    ticket = Ticket.parse(_target(directory, metadata, TICKET_TARGET))
    if ticket.product != PRODUCT:
        raise InvalidInput(f"{directory} is for the product '{ticket.product}', expected '{PRODUCT}'", hint=CUT_AGAIN)
    if ticket.install_by_at < now:
        raise InvalidInput(f"{directory} was to be installed by {ticket.install_by}", hint=CUT_AGAIN)
    return ticket


def _items(directory: Path, metadata: BundleMetadata, ticket: Ticket) -> tuple[ContentItem, ...]:
    """Check every item of the ticket; returns those with content."""
    found: list[ContentItem] = []
    for item in ticket.items:
        signed = metadata.find(item.path).hashes.get("sha256", "")
        if signed != item.sha256:
            raise InvalidInput(
                f"{directory}: the ticket wants {item.path} with {item.sha256[:16]}..., signed is {signed[:16]}...",
                hint=CUT_AGAIN,
            )
        data = _target(directory, metadata, item.path)
        if item.kind == "config":
            check_site_settings(data, item.path)
        else:
            found.append(parse_item(item.kind, data))
    return tuple(found)


def _target(directory: Path, metadata: BundleMetadata, path: str) -> bytes:
    """Return the content of a target as it was signed."""
    wanted = metadata.find(path)
    place = directory / TARGETS_DIRECTORY / hashed_target(path, wanted.hashes["sha256"])
    if not place.is_file():
        raise NotFound(f"{place} is missing", hint=CUT_AGAIN)
    data = place.read_bytes()
    if (len(data), hashlib.sha256(data).hexdigest()) != (wanted.length, wanted.hashes["sha256"]):
        raise InvalidInput(f"{place} is not what was signed", hint=CUT_AGAIN)
    return data


def _check_parts(directory: Path, items: tuple[ContentItem, ...], progress: Progress) -> tuple[int, int]:
    """Hash every part; returns how many are there and how many a thin bundle leaves out."""
    is_thin = read_hint(directory).get("thin") is True
    wanted: dict[str, Part] = {digest_hex(part.digest): part for item in items for part in item.parts.values()}
    total, done, present = sum(part.size_bytes for part in wanted.values()), 0, 0
    for name, part in wanted.items():
        path = directory / BLOBS_DIRECTORY / name
        if path.is_file():
            present += 1
            if path.stat().st_size != part.size_bytes or hash_file(path) != name:
                raise InvalidInput(f"{path} is not what was signed", hint=CUT_AGAIN)
        elif not is_thin:
            raise NotFound(f"{path} is missing", hint=CUT_AGAIN)
        done += part.size_bytes
        progress(f"checking {name[:12]}", done, total)
    return present, len(wanted) - present
