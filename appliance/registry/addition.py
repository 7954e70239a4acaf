"""Adding a package: copy, try, publish, make visible, in this order.

Invariants: what is tried and what is stored are the same bytes (the medium is read once, and may change afterwards);
nothing is visible before one transaction at the end makes all versions of the package visible; a version never
changes once it is there. What a failure leaves in the workspace goes with it; published blobs are garbage until then.
"""

import io
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.durable import copy_hashed, disk_errors
from appliance.errors import Failed
from appliance.model.identity import Digest, ModelVersion, digest_of_hex
from appliance.registry.blob_store import BlobStore
from appliance.registry.database import Database
from appliance.registry.manifest import Manifest, ManifestFile
from appliance.registry.package import Package
from appliance.registry.package_files import PackageFile, open_package_file
from appliance.registry.queries import insert_version
from appliance.registry.records import RegisteredVersion
from appliance.registry.scrub_results import forget
from appliance.registry.version_trial import Check, find_same, read_version, tried_version
from appliance.registry.views import ViewStore, link_tree

Progress = Callable[[str, int, int], None]  # what is being done, how much of it is done, of how much

_SPARE_BYTES = 64 * 1024  # for the database and the directories


@dataclass(frozen=True, slots=True)
class _StagedFile:
    path: Path
    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PreparedVersion:
    """A version that was copied and tried; nobody sees it yet."""

    row: RegisteredVersion
    content: Mapping[Digest, Path]  # durable files in the workspace, the manifest among them


class Addition:
    """One package on its way into the registry."""

    def __init__(
        self, package: Package, workspace: Path, database: Database, blobs: BlobStore, views: ViewStore
    ) -> None:
        """`workspace`: a private empty directory on the blobs' file system."""
        self.published: set[Digest] = set()  # what was not here before, and is garbage if this addition fails
        self._package = package
        self._workspace = workspace
        self._database = database
        self._blobs = blobs
        self._views = views

    def prepare(self, check: Check, progress: Progress, now: float) -> list[PreparedVersion]:
        """Copy the package off its medium and try every version that is new. Raises InvalidInput, AlreadyExists."""
        with disk_errors(f"adding '{self._package.name}'"):
            staged = self._copy(progress)
            return [
                self._prepare_version(version, staged, check, progress, now) for version in self._package.versions
            ]

    def publish(self, prepared: list[PreparedVersion]) -> None:
        """Put content and views in place, then make all versions visible at once."""
        content = {digest: path for version in prepared for digest, path in version.content.items()}
        with disk_errors(f"adding '{self._package.name}'"), self._blobs.shared():
            for digest, path in content.items():
                if self._blobs.publish(path, digest):
                    self.published.add(digest)
            self._blobs.sync()
            for version in prepared:
                self._views.ensure(version.row.manifest)
            with self._database.writing() as connection:
                for version in prepared:
                    if find_same(connection, version.row.manifest) is None:
                        insert_version(connection, version.row)
                forget(connection, content)

    def _copy(self, progress: Progress) -> dict[str, _StagedFile]:
        files = {path: file for version in self._package.versions.values() for path, file in version.files.items()}
        total_bytes = sum(file.size_bytes for file in files.values())
        self._require_room(total_bytes)
        done_bytes = 0
        staged: dict[str, _StagedFile] = {}
        for number, (path, file) in enumerate(files.items()):

            def advance(more_bytes: int, path: str = path) -> None:
                nonlocal done_bytes
                done_bytes += more_bytes
                progress(f"copying {path}", done_bytes, total_bytes)

            staged[path] = _stage(file, self._workspace / f"file-{number}", advance)
        return staged

    def _require_room(self, total_bytes: int) -> None:
        free_bytes = shutil.disk_usage(self._workspace).free
        if free_bytes < total_bytes + _SPARE_BYTES:
            raise Failed(
                f"not enough room for '{self._package.name}': {total_bytes} bytes needed, {free_bytes} free",
                hint="make room: appliance models remove NAME VERSION, then appliance models gc",
            )

    def _prepare_version(
        self,
        version: ModelVersion,
        staged: Mapping[str, _StagedFile],
        check: Check,
        progress: Progress,
        now: float,
    ) -> PreparedVersion:
        files = {path: staged[path] for path in self._package.versions[version].files}
        view = self._workspace / f"version-{version}"
        link_tree({path: file.path for path, file in files.items()}, view)
        copied, manifest = read_version(  # what counts is what was copied, not what was read before
            view,
            self._package.name,
            version,
            {path: ManifestFile(file.digest, file.size_bytes) for path, file in files.items()},
        )
        content = {file.digest: file.path for file in files.values()}
        content[manifest.digest()] = self._stage_manifest(manifest)
        with self._database.reading() as connection:
            known = find_same(connection, manifest)
        if known is not None:
            return PreparedVersion(replace(known, already_there=True), content)
        progress(f"trying version {version}", 0, 1)
        row = tried_version(copied, manifest, view, check, now)
        progress(f"trying version {version}", 1, 1)
        return PreparedVersion(row, content)

    def _stage_manifest(self, manifest: Manifest) -> Path:
        path = self._workspace / f"manifest-{manifest.version}"
        copy_hashed(io.BytesIO(manifest.to_bytes()), path)
        return path


def _stage(file: PackageFile, target: Path, advance: Callable[[int], None]) -> _StagedFile:
    with disk_errors(f"copying {file.path}"), open_package_file(file.path) as stream:
        hex_digits, size_bytes = copy_hashed(stream, target, advance)
    return _StagedFile(target, digest_of_hex(hex_digits), size_bytes)
