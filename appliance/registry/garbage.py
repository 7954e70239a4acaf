"""Removing what no version refers to any more.

Invariant: holding the blobs alone, nobody is between publishing content and making it visible, so whatever the
database does not name is garbage.
"""

from collections.abc import Callable

from appliance.model.identity import digest_hex
from appliance.registry.blob_store import BlobStore
from appliance.registry.database import Database
from appliance.registry.durable import disk_errors
from appliance.registry.queries import get_manifests
from appliance.registry.records import GarbageReport
from appliance.registry.views import ViewStore


def collect_garbage(
    database: Database, blobs: BlobStore, views: ViewStore, progress: Callable[[str, int, int], None]
) -> GarbageReport:
    """Delete unreferenced views, then unreferenced blobs. Waits for additions that are being published."""
    with disk_errors("collecting garbage"), blobs.alone():
        with database.reading() as connection:
            manifests = get_manifests(connection)
        needed_views = {digest_hex(manifest.digest()) for manifest in manifests}
        needed_blobs = {file.digest for manifest in manifests for file in manifest.files.values()}
        needed_blobs.update(manifest.digest() for manifest in manifests)
        old_views = [path for path in views.present() if path.name not in needed_views]
        for path in old_views:
            views.remove(path)
        old_blobs = [digest for digest in blobs.digests() if digest not in needed_blobs]
        size_bytes = 0
        for number, digest in enumerate(old_blobs, start=1):
            size_bytes += blobs.delete(digest)
            progress("deleting", number, len(old_blobs))
        blobs.sync()
    return GarbageReport(len(old_blobs), size_bytes, len(old_views))
