"""Manifests that lie among the blobs: what is left to go by when the database is lost.

Invariant: a manifest that is itself a file of a package is that package's data, whatever it says.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from appliance.bundle.layout import LARGEST_TARGET_BYTES
from appliance.bundle.model_item import ModelItem
from appliance.errors import InvalidInput
from appliance.model.identity import Digest, digest_hex
from appliance.registry.blob_store import BlobStore
from appliance.registry.database import Database
from appliance.registry.manifest import Manifest
from appliance.registry.queries import get_digests


@dataclass(frozen=True, slots=True)
class StoredDocuments:
    """Every manifest, ours and the signed ones, by the digest of its bytes."""

    manifests: dict[Digest, Manifest]
    items: dict[Digest, ModelItem]

    def items_of(self, manifest: Digest) -> Iterator[tuple[Digest, ModelItem]]:
        """Yield the signed manifests that describe a version."""
        return ((digest, item) for digest, item in self.items.items() if item.manifest == manifest)


def read_documents(blobs: BlobStore) -> StoredDocuments:
    """Look through all small blobs that are whole."""
    manifests: dict[Digest, Manifest] = {}
    items: dict[Digest, ModelItem] = {}
    for digest in blobs.digests():
        data = _small_content(blobs, digest)
        if data is None:
            continue
        with suppress(InvalidInput):
            manifests[digest] = Manifest.parse(data)
        with suppress(InvalidInput):
            items[digest] = ModelItem.parse(data)
    data_of_packages = {file.digest for manifest in manifests.values() for file in manifest.files.values()}
    return StoredDocuments(
        {digest: manifest for digest, manifest in manifests.items() if digest not in data_of_packages},
        {digest: item for digest, item in items.items() if digest not in data_of_packages},
    )


def lost_versions(database: Database, blobs: BlobStore) -> list[str]:
    """Name versions that lie here whole while the database knows none at all: it was lost, and made anew, empty."""
    with database.reading() as connection:
        if get_digests(connection):
            return []
    return sorted(
        f"{manifest.name} version {manifest.version}"
        for manifest in read_documents(blobs).manifests.values()
        if all(blobs.path(file.digest).exists() for file in manifest.files.values())
    )


def _small_content(blobs: BlobStore, digest: Digest) -> bytes | None:
    """Return a blob's content if it could be a manifest, and is what its name says."""
    with blobs.open(digest) as stream:
        data = stream.read(LARGEST_TARGET_BYTES + 1)
    if len(data) > LARGEST_TARGET_BYTES or not data.startswith(b"{"):
        return None
    return data if hashlib.sha256(data).hexdigest() == digest_hex(digest) else None
