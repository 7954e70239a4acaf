"""Which models are on this box, and which of their versions shall be served.

Ownership: an instance holds no lock between calls, so any number of threads and processes may use their own; each
change is one transaction. `activate` only says what is desired: the daemon that serves this state directory follows.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from appliance.bundle.model_item import ModelItem
from appliance.durable import disk_errors
from appliance.errors import ApplianceError, Busy, Unsupported
from appliance.model.identity import Digest, ModelName, ModelVersion
from appliance.registry import aliases, queries, scrub, scrub_results
from appliance.registry.addition import Addition, Progress
from appliance.registry.arrival import keep_documents, make_views, make_visible, prepare_version, take_back
from appliance.registry.blob_store import BlobStore
from appliance.registry.crash_guard import CrashGuard
from appliance.registry.database import Database
from appliance.registry.export import export_version
from appliance.registry.garbage import GarbageCollection, Keep, keep_nothing
from appliance.registry.package import Package
from appliance.registry.quarantine import Quarantine
from appliance.registry.read_back import ReadBack, read_back_bytes
from appliance.registry.rebuild import CheckOf, Rebuild, RebuildReport, Trust
from appliance.registry.records import GarbageReport, RegisteredModel, RegisteredVersion, RegistryProblem
from appliance.registry.scrub import Scrub, ScrubReport
from appliance.registry.seal import is_sealed
from appliance.registry.signed_versions import BRING_SIGNED, SignedVersion, get_signed, unsigned
from appliance.registry.staging import StagingArea
from appliance.registry.stored_documents import lost_versions
from appliance.registry.ticket_records import (
    TicketRecord,
    TicketState,
    find_ticket,
    finish_ticket,
    get_tickets,
    put_ticket,
    require_not_on_trial,
)
from appliance.registry.version_trial import Check
from appliance.registry.views import ViewStore
from appliance.state_layout import StateLayout


def _silent(_what: str, _done: int, _total: int) -> None:
    """The Progress of a caller who does not want to know."""


class ModelRegistry:
    """The registry of one state directory."""

    def __init__(self, layout: StateLayout, clock: Callable[[], float]) -> None:
        """Use `open` or `to_read`."""
        self.layout = layout
        self.staging = StagingArea(layout.staging)
        self.blobs = BlobStore(layout.blobs, self.staging)
        self.views = ViewStore(layout.views, self.blobs, self.staging)
        self.quarantine = Quarantine(layout.quarantine, self.blobs)
        self.database = Database(layout.database)
        self.crash_guard = CrashGuard(self.database, clock)
        self._garbage = GarbageCollection(
            self.database, self.blobs, self.views, self.quarantine, self.staging, layout.partial_blobs
        )
        self._clock = clock

    @classmethod
    @contextmanager
    def open(cls, layout: StateLayout, *, clock: Callable[[], float] = time.time) -> Iterator[Self]:
        """Create what is missing, remove what a crash left half-written, check the database.

        Raises Failed if the state directory cannot be used.
        """
        registry = cls(layout, clock)
        with registry.database.opened():
            registry.blobs.open_store()
            registry.views.open_store()
            yield registry

    @classmethod
    def to_read(cls, layout: StateLayout) -> Self:
        """Look at what is there without a right to write; only what reads may be called.

        That raises Failed for what a database of an older form lacks.
        """
        return cls(layout, time.time)

    @property
    def sealed(self) -> bool:
        """Whether only signed bundles may bring anything, and only what they brought may be served."""
        return is_sealed(self.layout)

    def is_signed(self, name: ModelName, version: ModelVersion) -> bool:
        """Whether a signed bundle brought this version."""
        with self.database.reading() as connection:
            return (name, version) in get_signed(connection)

    def add(self, package: Package, *, check: Check, progress: Progress | None = None) -> list[RegisteredVersion]:
        """Store all versions of a package, or none; a version that is there with the same content is no error.

        `check(model_file, config)` tries a new version on the copy that will be stored.
        Raises InvalidInput, AlreadyExists, Unsupported (the box is sealed), Failed (no room, disk errors).
        """
        if self.sealed:
            raise Unsupported(
                "this box is sealed: only signed bundles bring models",
                hint=BRING_SIGNED,
            )
        with self.staging.workspace() as workspace:
            addition = Addition(package, workspace, self.database, self.blobs, self.views)
            prepared = addition.prepare(check, progress or _silent, self._clock())
            try:
                addition.publish(prepared)
            except BaseException:
                with contextlib.suppress(ApplianceError):  # the first error is the one to tell
                    self._garbage.discard(addition.published)
                raise
        return [version.row for version in prepared]

    def prepare_staged(self, item: ModelItem, check: Check) -> RegisteredVersion:
        """Try a version whose files are blobs already; nobody sees it before `install`.

        Raises InvalidInput, AlreadyExists.
        """
        with self.staging.workspace() as workspace:
            return prepare_version(item, self.database, self.blobs, workspace, check, self._clock())

    def install(
        self,
        versions: Sequence[RegisteredVersion],
        signed: Sequence[SignedVersion],
        desired: Mapping[ModelName, ModelVersion],
        ticket: TicketRecord,
    ) -> None:
        """Make signed versions visible and desired, and their ticket known, in one transaction."""
        with disk_errors(f"installing ticket {ticket.id}"), self.blobs.shared():
            make_views(versions, self.views)
            with self.database.writing() as connection:
                make_visible(connection, versions, signed, desired, ticket, self._clock())

    def refuse_ticket(self, ticket: TicketRecord, reason: str) -> None:
        """Remember a ticket that does not work here, so that nothing tries it again by itself."""
        failed = replace(ticket, state=TicketState.FAILED, reason=reason, finished_at=self._clock())
        with self.database.writing() as connection:
            put_ticket(connection, failed)

    def finish_ticket(self, digest: Digest, state: TicketState, reason: str) -> None:
        """Write down how a ticket ended. Raises NotFound."""
        with self.database.writing() as connection:
            finish_ticket(connection, digest, state, reason, self._clock())

    def restore(self, digest: Digest, reason: str) -> None:
        """Desire again what was desired before a ticket, and write down why, in one transaction. Raises NotFound."""
        with self.database.writing() as connection:
            take_back(connection, digest, reason, self._clock())

    def tickets(self) -> list[TicketRecord]:
        """Return every ticket that this box has judged, the newest first."""
        with self.database.reading() as connection:
            return get_tickets(connection)

    def ticket(self, digest: Digest) -> TicketRecord | None:
        """Return what became of a ticket, or None."""
        with self.database.reading() as connection:
            return find_ticket(connection, digest)

    def digests(self) -> Mapping[ModelName, Mapping[ModelVersion, Digest]]:
        """Return the digest of every version."""
        with self.database.reading() as connection:
            return queries.get_digests(connection)

    def keep_documents(self, item: ModelItem) -> None:
        """Have a version's manifest and its signed one among the blobs, whole: what `rebuild` needs."""
        with self.blobs.shared():
            self.healed(keep_documents(item, self.blobs))

    def healed(self, digests: Collection[Digest]) -> None:
        """Content that was missing or in quarantine is whole again."""
        with self.database.writing() as connection:
            scrub_results.forget(connection, digests)

    def desired(self, names: Collection[ModelName]) -> dict[ModelName, ModelVersion | None]:
        """Return which version of each model the alias `serving` points at."""
        with self.database.reading() as connection:
            return {name: queries.get_aliases(connection, name).get(aliases.SERVING) for name in names}

    def models(self) -> list[RegisteredModel]:
        """Return everything, by name."""
        with self.database.reading() as connection:
            return queries.get_models(connection)

    def model(self, name: ModelName) -> RegisteredModel:
        """Return everything about one name. Raises NotFound."""
        with self.database.reading() as connection:
            return queries.get_model(connection, name)

    def version(self, name: ModelName, version: ModelVersion) -> RegisteredVersion:
        """Return one version. Raises NotFound."""
        with self.database.reading() as connection:
            return queries.get_version(connection, name, version)

    def activate(self, name: ModelName, version: ModelVersion, *, alias: str = aliases.SERVING) -> None:
        """Let an alias point at a version, so that it is served; its count of crashes starts again.

        Raises NotFound, InvalidInput (the alias), Unsupported (nobody signed it, and the box is sealed).
        """
        aliases.parse_alias(alias)
        with self.database.writing() as connection:
            queries.get_version(connection, name, version)
            if self.sealed and (name, version) not in get_signed(connection):
                raise Unsupported(unsigned(name, version), hint=BRING_SIGNED)
            aliases.point(connection, name, version, alias, self._clock())

    def deactivate(self, name: ModelName, *, alias: str | None = None) -> None:
        """Take one alias away, or all with None; a version without any is not served. Raises NotFound."""
        with self.database.writing() as connection:
            queries.get_model(connection, name)
            aliases.take_away(connection, name, alias, self._clock())

    def remove(self, name: ModelName, version: ModelVersion) -> None:
        """Forget a version; its files go with the next `collect_garbage`.

        Raises NotFound, Busy if an alias points at it or an update that is on trial would go back to it.
        """
        with self.database.writing() as connection:
            going = queries.get_version(connection, name, version)
            pointing = [alias for alias, at in queries.get_aliases(connection, name).items() if at == version]
            if pointing:
                raise Busy(
                    f"'{name}' version {version} is in use: alias {', '.join(pointing)} points at it",
                    hint=f"activate another version, or: appliance models deactivate {name}",
                )
            require_not_on_trial(connection, name, version)
            signed = get_signed(connection).get((name, version))
            connection.execute("DELETE FROM versions WHERE name = ? AND version = ?", (name, version))
        documents = {going.digest} if signed is None else {going.digest, signed.item_digest}
        self._garbage.discard_documents(documents)  # or `rebuild` would bring the version back

    def collect_garbage(self, progress: Progress | None = None, *, keep: Keep = keep_nothing) -> GarbageReport:
        """Delete content and views that no version refers to; `keep` names what an open update wants."""
        return self._garbage.collect(keep, progress or _silent)

    def verify(self, name: ModelName | None = None, progress: Progress | None = None) -> list[RegistryProblem]:
        """Read back every file of one model, or of everything, and compare it with its digest. Raises NotFound."""
        problem = self.database.check()
        if problem:
            return [RegistryProblem("database", problem)]
        models = self.models() if name is None else [self.model(name)]
        manifests = [version.manifest for model in models for version in model.versions.values()]
        reading = ReadBack(self.blobs, progress or _silent, read_back_bytes(manifests))
        found = [problem for manifest in manifests for problem in reading.version(manifest)]
        return found + (reading.blobs(self.blobs.digests()) if name is None else [])

    def scrub(self, progress: Progress | None = None) -> ScrubReport:
        """Read everything back from the disk; what is damaged goes into quarantine and is known from then on."""
        Scrub(self.database, self.blobs, self.views, self.quarantine, self._clock, progress or _silent).run()
        return self.scrub_report()

    def rebuild(self, check_of: CheckOf, trust: Trust, progress: Progress | None = None) -> RebuildReport:
        """Make the rows of every version again whose content is here; see rebuild.py for what cannot come back."""
        work = Rebuild(self.database, self.blobs, self.views, self.staging, progress or _silent)
        return work.run(check_of, trust, self._clock())

    def lost_versions(self) -> list[str]:
        """Name what lies here whole while no version is known: the database was lost. Empty on a sound box."""
        return lost_versions(self.database, self.blobs)

    def scrub_report(self) -> ScrubReport:
        """Say when everything was read last, and what is damaged or missing as far as is known."""
        with self.database.reading() as connection:
            return scrub.report(connection)

    def quarantined(self) -> list[Digest]:
        """Name content that is damaged or missing, and that an update or `add` has to bring again."""
        with self.database.reading() as connection:
            return list(scrub_results.get_findings(connection))

    def export(self, name: ModelName, version: ModelVersion, destination: Path) -> Path:
        """Write a version as a package directory `destination/<name>` and return that path.

        Raises NotFound, AlreadyExists if it is there, Failed.
        """
        return export_version(self.version(name, version).manifest, self.blobs, destination)
