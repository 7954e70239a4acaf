"""Removing what no version refers to any more.

Invariant: holding the blobs alone, nobody is between publishing content and making it visible but an open update,
which says what it wants to keep; so whatever neither the database nor the update names is garbage. It goes by rename
while the blobs are held, and is deleted after: deleting takes long, and nobody has to wait for it.
"""

import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from appliance.durable import disk_errors
from appliance.errors import Failed
from appliance.model.identity import Digest, digest_hex
from appliance.registry.blob_store import BlobStore
from appliance.registry.database import Database
from appliance.registry.part_assembly import forget_partial
from appliance.registry.quarantine import Quarantine
from appliance.registry.queries import get_manifests
from appliance.registry.records import GarbageReport
from appliance.registry.signed_versions import get_signed
from appliance.registry.staging import StagingArea
from appliance.registry.stored_documents import lost_versions
from appliance.registry.views import ViewStore

Keep = Callable[[], Collection[Digest]]  # what an open update wants; asked while the blobs are held


def keep_nothing() -> Collection[Digest]:
    """The Keep of a box on which no update is open."""
    return ()


class GarbageCollection:
    """One state directory's."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        views: ViewStore,
        quarantine: Quarantine,
        staging: StagingArea,
        partial: Path,
    ) -> None:
        """`partial`: where content lies that has not arrived whole."""
        self._database = database
        self._blobs = blobs
        self._views = views
        self._quarantine = quarantine
        self._staging = staging
        self._partial = partial

    def collect(self, keep: Keep, progress: Callable[[str, int, int], None]) -> GarbageReport:
        """Take unreferenced views, then unreferenced blobs. Waits for additions that are being published.

        Raises Failed if the database has plainly been lost: then everything would be garbage.
        """
        with disk_errors("collecting garbage"), self._staging.workspace() as trash:
            with self._blobs.alone():
                self._require_not_lost()
                wanted = keep()
                views = self._take_views(trash)
                blobs = self._take_blobs(trash, self._blobs.digests(), wanted)
                forget_partial(self._partial, wanted)
            size_bytes = sum(path.stat().st_size for path in blobs)
            for view in views:
                shutil.rmtree(view)
            for number, path in enumerate(blobs, start=1):
                path.unlink()
                progress("deleting", number, len(blobs))
        return GarbageReport(len(blobs), size_bytes, len(views))

    def discard(self, content: Collection[Digest]) -> None:
        """Delete these blobs, of an addition that failed, where no version refers to them."""
        with disk_errors("cleaning up"), self._staging.workspace() as trash, self._blobs.alone():
            self._take_views(trash)
            self._take_blobs(trash, content, ())

    def discard_documents(self, documents: Collection[Digest]) -> None:
        """Delete manifests of a version that was removed."""
        with disk_errors("removing a version"), self._staging.workspace() as trash, self._blobs.alone():
            self._take_blobs(trash, documents, ())

    def _require_not_lost(self) -> None:
        found = lost_versions(self._database, self._blobs)
        if found:
            raise Failed(
                f"the registry knows no model, but the content of {', '.join(found[:5])} is here: "
                f"{self._database.path} has been lost",
                hint="make its rows again: appliance models rebuild",
            )

    def _take_views(self, trash: Path) -> list[Path]:
        with self._database.reading() as connection:
            needed = {digest_hex(manifest.digest()) for manifest in get_manifests(connection)}
        old = [view for view in self._views.present() if view.name not in needed]
        return [view.rename(trash / f"view-{view.name}") for view in old]

    def _take_blobs(self, trash: Path, among: Iterable[Digest], kept: Collection[Digest]) -> list[Path]:
        with self._database.reading() as connection:
            needed = {digest for manifest in get_manifests(connection) for digest in manifest.content}
            needed.update(signed.item_digest for signed in get_signed(connection).values())
        needed.update(kept)
        old = [digest for digest in among if digest not in needed and self._blobs.path(digest).exists()]
        taken = [self._blobs.path(digest).rename(trash / digest_hex(digest)) for digest in old]
        self._blobs.sync()
        self._quarantine.sweep(needed)
        return taken
