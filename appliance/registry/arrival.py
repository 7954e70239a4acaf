"""Versions that came in a signed bundle: their files are blobs already; tried, then made visible with their ticket.

Invariants: what is tried are the very blobs that will be served; versions, signatures, what is desired and the ticket
become visible in one transaction.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.bundle.model_item import ModelItem
from appliance.durable import disk_errors
from appliance.errors import InvalidInput
from appliance.model.identity import Digest, ModelName, ModelVersion
from appliance.registry import aliases
from appliance.registry.blob_store import BlobStore
from appliance.registry.database import Database
from appliance.registry.manifest import Manifest, ManifestFile
from appliance.registry.queries import find_version, get_aliases, insert_version
from appliance.registry.records import RegisteredVersion
from appliance.registry.scrub_results import forget
from appliance.registry.signed_versions import SignedVersion, insert_signed
from appliance.registry.ticket_records import TicketRecord, TicketState, finish_ticket, get_ticket, put_ticket
from appliance.registry.version_trial import Check, find_same, read_version, require_same, tried_version
from appliance.registry.views import ViewStore, link_tree


def prepare_version(
    item: ModelItem, database: Database, blobs: BlobStore, workspace: Path, check: Check, now: float
) -> RegisteredVersion:
    """Try a version whose files are blobs, and make blobs of its manifests, the signed one and our own.

    `workspace`: a private empty directory on the blobs' file system. Raises InvalidInput (it is not what its manifest
    says, or does not load), AlreadyExists.
    """
    manifest = manifest_of(item)
    with disk_errors(f"preparing '{item.name}' version {item.version}"):
        with database.reading() as connection:
            known = find_same(connection, manifest)
        if known is None:
            view = workspace / "version"
            link_tree({path: blobs.path(file.digest) for path, file in item.files.items()}, view)
            package, found = read_version(view, item.name, item.version, manifest.files)
            require_same(found, manifest)
            known = tried_version(package, manifest, view, check, now)
        keep_documents(item, blobs)
    return known


def keep_documents(item: ModelItem, blobs: BlobStore) -> set[Digest]:
    """Make blobs of a version's manifests, the signed one and our own: what `rebuild` finds. Returns their names."""
    return {blobs.put(data) for data in (manifest_of(item).to_bytes(), item.to_bytes())}


def make_visible(
    connection: sqlite3.Connection,
    versions: Sequence[RegisteredVersion],
    signed: Sequence[SignedVersion],
    desired: Mapping[ModelName, ModelVersion],
    ticket: TicketRecord,
    now: float,
) -> None:
    """Write everything that an accepted ticket changes, on a connection in a transaction."""
    for version in versions:
        if find_same(connection, version.manifest) is None:
            insert_version(connection, version)
        forget(connection, version.manifest.content)
    for each in signed:
        insert_signed(connection, each)
        forget(connection, [each.item_digest])
    for name, number in desired.items():
        aliases.point(connection, name, number, aliases.SERVING, now)
    put_ticket(connection, ticket)


def take_back(connection: sqlite3.Connection, digest: Digest, reason: str, now: float) -> None:
    """Let the alias `serving` of every model that a ticket changed point where it pointed before, and say why.

    A version that was removed since serves no more; neither does a model that the ticket brought. Raises NotFound.
    """
    for name, version in get_ticket(connection, digest).previous.items():
        if version is not None and find_version(connection, name, version) is not None:
            aliases.point(connection, name, version, aliases.SERVING, now)
        elif aliases.SERVING in get_aliases(connection, name):
            aliases.take_away(connection, name, aliases.SERVING, now)
    finish_ticket(connection, digest, TicketState.ROLLED_BACK, reason, now)


def make_views(versions: Sequence[RegisteredVersion], views: ViewStore) -> None:
    """Lay out what a runtime opens."""
    for version in versions:
        views.ensure(version.manifest)


def manifest_of(item: ModelItem) -> Manifest:
    """Return the registry's manifest of what a bundle brings. Raises InvalidInput if it is not the one it names."""
    manifest = Manifest(
        name=item.name,
        version=item.version,
        config_file=item.config_file,
        model_file=item.model_file,
        licence=item.licence,
        files={path: ManifestFile(file.digest, file.size_bytes) for path, file in item.files.items()},
    )
    parsed = Manifest.parse(manifest.to_bytes())  # safe paths only
    if parsed.digest() != item.manifest:
        raise InvalidInput(
            f"the manifest of '{item.name}' version {item.version} is {parsed.digest()}, expected {item.manifest}"
        )
    return parsed
