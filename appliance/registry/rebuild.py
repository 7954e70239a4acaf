"""Making the rows of the database again, from what lies among the blobs: for a box whose `registry.db` was lost.

What a version is, its manifest says; whether it was signed, the metadata that the box trusts. Which version served is
not guessed, and tickets are not known any more. A version that was removed does not come back: its manifests went
with it.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from appliance.bundle.layout import model_target
from appliance.bundle.model_item import ModelItem
from appliance.durable import disk_errors
from appliance.errors import ApplianceError
from appliance.model.identity import Digest, ModelName, ModelVersion, digest_hex
from appliance.registry.blob_store import BRING_AGAIN, BlobStore
from appliance.registry.database import Database
from appliance.registry.manifest import Manifest
from appliance.registry.queries import get_digests, insert_version
from appliance.registry.records import RegisteredVersion, RegistryProblem
from appliance.registry.signed_versions import SignedVersion, insert_signed
from appliance.registry.staging import StagingArea
from appliance.registry.stored_documents import StoredDocuments, read_documents
from appliance.registry.version_trial import Check, find_same, read_version, require_same, tried_version
from appliance.registry.views import ViewStore, link_tree

IsSigned = Callable[[str, str], bool]  # target path, SHA-256 of its content in hex: whether trusted metadata list it
CheckOf = Callable[[ModelName], Check]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Trust:
    """What the box can say about signatures. `publishers`: whose models it knows a role for."""

    is_signed: IsSigned
    publishers: Collection[str]


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What came back. `signed`: those of them that a sealed box serves; `problems`: what could not come back."""

    versions: tuple[RegisteredVersion, ...]
    signed: tuple[SignedVersion, ...]
    problems: tuple[RegistryProblem, ...]


class Rebuild:
    """One attempt to make the rows again; nothing is visible before one transaction at its end."""

    def __init__(
        self, database: Database, blobs: BlobStore, views: ViewStore, staging: StagingArea, progress: Progress
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._views = views
        self._staging = staging
        self._progress = progress
        self._problems: list[RegistryProblem] = []

    def run(self, check_of: CheckOf, trust: Trust, now: float) -> RebuildReport:
        """Bring back every version whose content is whole and loads. Raises Failed."""
        with disk_errors("rebuilding the registry"), self._blobs.shared():
            documents = read_documents(self._blobs)
            signed = self._signed(documents, trust, now)
            candidates = self._candidates(documents, signed)
            versions = []
            for number, manifest in enumerate(candidates):
                self._progress(f"trying {_subject(manifest)}", number, len(candidates))
                if (version := self._tried(manifest, check_of(manifest.name), now)) is not None:
                    versions.append(version)
                    self._views.ensure(manifest)
            signatures = tuple(signed[version.digest] for version in versions if version.digest in signed)
            with self._database.writing() as connection:
                for version in versions:
                    if find_same(connection, version.manifest) is None:
                        insert_version(connection, version)
                for signature in signatures:
                    insert_signed(connection, signature)
        return RebuildReport(tuple(versions), signatures, tuple(self._problems))

    def _signed(self, documents: StoredDocuments, trust: Trust, now: float) -> dict[Digest, SignedVersion]:
        """Find the signature of every manifest that has one, by the manifest's digest."""
        found = {}
        for manifest in documents.manifests:
            for digest, item in documents.items_of(manifest):
                target = _signed_target(item, digest, trust)
                if target:
                    found[manifest] = SignedVersion(item.name, item.version, target, digest, None, now)
        return found

    def _candidates(self, documents: StoredDocuments, signed: Collection[Digest]) -> list[Manifest]:
        """Leave out what is known, and names that stand for several contents."""
        with self._database.reading() as connection:
            known = get_digests(connection)
        contents: dict[tuple[ModelName, ModelVersion], list[Manifest]] = {}
        for manifest in documents.manifests.values():
            if manifest.version not in known.get(manifest.name, {}):
                contents.setdefault((manifest.name, manifest.version), []).append(manifest)
        chosen = []
        for _, found in sorted(contents.items()):
            certain = [manifest for manifest in found if manifest.digest() in signed] if len(found) > 1 else found
            if len(certain) == 1:
                chosen.append(certain[0])
            else:
                digests = ", ".join(sorted(manifest.digest() for manifest in found))
                self._problem(found[0], f"{len(found)} contents have this name: {digests}")
        return chosen

    def _tried(self, manifest: Manifest, check: Check, now: float) -> RegisteredVersion | None:
        try:
            for file in manifest.files.values():
                self._blobs.verify(file.digest)
            with self._staging.workspace() as workspace:
                view = workspace / "version"
                link_tree({path: self._blobs.path(file.digest) for path, file in manifest.files.items()}, view)
                package, found = read_version(view, manifest.name, manifest.version, manifest.files)
                require_same(found, manifest)
                return tried_version(package, manifest, view, check, now)
        except ApplianceError as error:  # one version that is damaged must not keep the others away
            self._problem(manifest, error.message)
            return None

    def _problem(self, manifest: Manifest, problem: str) -> None:
        self._problems.append(RegistryProblem(_subject(manifest), problem, BRING_AGAIN))


def _signed_target(item: ModelItem, digest: Digest, trust: Trust) -> str:
    """Return the path under which trusted metadata list a signed manifest, '' if nowhere."""
    for publisher in trust.publishers:
        with suppress(ApplianceError):
            target = model_target(publisher, item.name, item.version)
            if trust.is_signed(target, digest_hex(digest)):
                return target
    return ""


def _subject(manifest: Manifest) -> str:
    return f"{manifest.name} version {manifest.version}"
