"""Reading everything back from the disk itself; what rotted goes into quarantine and is known from then on.

Each finding is durable before the next file is read, so a scrub that is cut off costs only time. Nothing is locked
while files are read: requests are answered, versions are added and updates arrive meanwhile.
"""

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.durable import disk_errors
from appliance.errors import Failed, NotFound
from appliance.model.identity import Digest
from appliance.registry import scrub_results
from appliance.registry.blob_store import BlobStore
from appliance.registry.database import Database
from appliance.registry.manifest import Manifest
from appliance.registry.quarantine import Quarantine
from appliance.registry.queries import get_manifests
from appliance.registry.scrub_results import Finding, ScrubRun
from appliance.registry.signed_versions import get_signed
from appliance.registry.views import ViewStore

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class DamagedContent:
    """One finding, and the files of versions that it is: 'digits version 1: labels.txt'; none if nobody needs it."""

    finding: Finding
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """The last reading of everything (None: never), and all that is damaged and has not come back."""

    run: ScrubRun | None
    damaged: tuple[DamagedContent, ...]


class Scrub:
    """One reading of everything that is stored."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        views: ViewStore,
        quarantine: Quarantine,
        clock: Callable[[], float],
        progress: Progress,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._views = views
        self._quarantine = quarantine
        self._clock = clock
        self._progress = progress
        self._size_bytes = 0
        self._new = 0
        self._known: set[Digest] = set()

    def run(self) -> None:
        """Read every blob and every file that a version needs. Raises Failed if the database cannot be written."""
        started_at = self._clock()
        with self._database.reading() as connection:
            places = places_of(connection)
            self._known = set(scrub_results.get_findings(connection))
        digests = sorted({*self._blobs.digests(), *places})
        total_bytes = sum(_size(self._blobs.path(digest)) for digest in digests)
        for digest in digests:
            self._examine(digest, f"reading {next(iter(places.get(digest, ())), digest)}", total_bytes)
        with self._database.writing() as connection:
            unneeded = scrub_results.get_findings(connection).keys() - places_of(connection).keys()
            scrub_results.forget(connection, unneeded)
            run = ScrubRun(started_at, self._clock(), len(digests), self._size_bytes, self._new)
            scrub_results.record_run(connection, run)

    def _examine(self, digest: Digest, what: str, total_bytes: int) -> None:
        def advance(more_bytes: int) -> None:
            self._size_bytes += more_bytes
            self._progress(what, self._size_bytes, total_bytes)

        path = self._blobs.path(digest)
        _forget_cached(path)
        try:
            self._blobs.verify(digest, advance)
        except (NotFound, Failed) as error:
            self._judge(digest, error.message)
            return
        finally:
            _forget_cached(path)
        if digest in self._known:
            with self._database.writing() as connection:
                scrub_results.forget(connection, [digest])

    def _judge(self, digest: Digest, problem: str) -> None:
        """Look again while nobody else can put content there, then act and write it down."""
        with disk_errors(f"putting {digest} into quarantine"), self._blobs.alone():
            with self._database.reading() as connection:
                manifests = [each for each in get_manifests(connection) if digest in each.content]
                needed = digest in places_of(connection)
            moved = self._quarantine.take(digest)
            if not moved and (not needed or self._blobs.path(digest).exists()):
                return  # it came back, or was collected as garbage meanwhile
            self._remove_views(manifests)
            if self._is_put_back(digest, manifests):
                return
            with self._database.writing() as connection:
                scrub_results.record(connection, Finding(digest, problem, moved, self._clock()))
            self._new += moved or digest not in self._known

    def _remove_views(self, manifests: list[Manifest]) -> None:
        for manifest in manifests:
            view = self._views.path(manifest.digest())
            if view.exists():
                self._views.remove(view)

    def _is_put_back(self, digest: Digest, manifests: list[Manifest]) -> bool:
        """Our own manifests stand in the database too: nobody has to bring them."""
        found = next((manifest for manifest in manifests if manifest.digest() == digest), None)
        if found is not None:
            self._blobs.put(found.to_bytes())
        return found is not None


def places_of(connection: sqlite3.Connection) -> dict[Digest, list[str]]:
    """Say of every content that is needed which files of which versions it is."""
    places: dict[Digest, list[str]] = {}
    for manifest in get_manifests(connection):
        subject = f"{manifest.name} version {manifest.version}"
        places.setdefault(manifest.digest(), []).append(f"{subject}: manifest")
        for path, file in manifest.files.items():
            places.setdefault(file.digest, []).append(f"{subject}: {path}")
    for signed in get_signed(connection).values():
        places.setdefault(signed.item_digest, []).append(f"{signed.name} version {signed.version}: signed manifest")
    return places


def report(connection: sqlite3.Connection) -> ScrubReport:
    """Say when everything was read last, and what is damaged now."""
    places = places_of(connection)
    found = scrub_results.get_findings(connection).values()
    damaged = tuple(DamagedContent(finding, tuple(places.get(finding.digest, ()))) for finding in found)
    return ScrubReport(scrub_results.last_run(connection), damaged)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _forget_cached(path: Path) -> None:
    """Read from the disk next time, not from memory; and leave the memory to what serves."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
