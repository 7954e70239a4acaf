"""One directory per version, laid out as its package: what a runtime opens.

The files are hard links to the blobs, so a view costs no space, and ONNX external data lie as real files beside their
model. Invariant: a view appears whole, by one rename. Views are derived: one that is missing is made again.
"""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from appliance.durable import disk_errors, fsync_directory, make_directory
from appliance.errors import Failed
from appliance.model.identity import Digest, digest_hex
from appliance.registry.blob_store import BRING_AGAIN, BlobStore
from appliance.registry.manifest import Manifest
from appliance.registry.staging import StagingArea


class ViewStore:
    """The `views/` directory of one state directory."""

    def __init__(self, directory: Path, blobs: BlobStore, staging: StagingArea) -> None:
        self._directory = directory
        self._blobs = blobs
        self._staging = staging

    def open_store(self) -> None:
        """Create the directory where it is missing."""
        with disk_errors("opening the views"):
            make_directory(self._directory)

    def path(self, manifest_digest: Digest) -> Path:
        """Return where a view is, or would be."""
        return self._directory / digest_hex(manifest_digest)

    def present(self) -> list[Path]:
        """List the views that are there."""
        return sorted(self._directory.iterdir())

    def ensure(self, manifest: Manifest) -> Path:
        """Return the view of a version, made anew unless every file of it is the blob itself. Raises Failed."""
        path = self.path(manifest.digest())
        if not self.is_whole(manifest):
            with disk_errors(f"making the view of {manifest.name} version {manifest.version}"):
                self._make(manifest, path)
        return path

    def is_whole(self, manifest: Manifest) -> bool:
        """Whether every file of the view is there and is the blob that the manifest names."""
        path = self.path(manifest.digest())
        try:
            return all(
                (path / relative).lstat().st_ino == self._blobs.path(file.digest).lstat().st_ino
                for relative, file in manifest.files.items()
            )
        except (FileNotFoundError, NotADirectoryError):
            return False

    def remove(self, path: Path) -> None:
        """Take a view away; no half of it is ever seen."""
        self._staging.discard(path)

    def _make(self, manifest: Manifest, path: Path) -> None:
        with self._blobs.shared(), self._staging.workspace() as workspace:
            sources = {relative: self._blobs.path(file.digest) for relative, file in manifest.files.items()}
            link_tree(sources, workspace / "new")
            if path.exists():
                path.rename(workspace / "old")
            try:
                (workspace / "new").rename(path)
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:  # another process was faster
                    raise
        fsync_directory(self._directory)


def link_tree(sources: Mapping[str, Path], root: Path) -> None:
    """Link files into a new directory by relative path, and make all the directories durable."""
    directories = {root}
    root.mkdir()
    for relative, source in sources.items():
        target = root / relative
        for parent in reversed(target.relative_to(root).parents[:-1]):
            if root / parent not in directories:
                (root / parent).mkdir()
                directories.add(root / parent)
        try:
            os.link(source, target)
        except FileNotFoundError as error:
            raise Failed(
                f"the content of {relative} is missing ({source.name})",
                hint=BRING_AGAIN,
            ) from error
    for directory in directories:
        fsync_directory(directory)
