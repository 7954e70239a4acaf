"""The station's TUF metadata: every version of every role that was ever signed, as files that never change.

Invariant: a version number is given away once. What a killed command signed stays unused; the next one goes on above
it, so that two bundles never hold one version with different content.
"""

import io
import re
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from appliance.durable import copy_hashed, disk_errors, fsync_directory, make_directory
from appliance.errors import Failed, NotFound

_FILE = re.compile(r"([1-9][0-9]*)\.([a-z0-9-]+)\.json")
_KINDS = {"root": Root, "snapshot": Snapshot, "timestamp": Timestamp}


class MetadataStore:
    """Files `<version>.<role>.json`; the timestamp too, which gets its plain name only in a bundle."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def versions(self, role: str) -> list[int]:
        """Return the versions that were signed, oldest first."""
        if not self.directory.is_dir():
            return []
        found = (_FILE.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match and match[2] == role)

    def roles(self) -> list[str]:
        """Return every role that has metadata."""
        if not self.directory.is_dir():
            return []
        found = (_FILE.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted({match[2] for match in found if match})

    def path(self, role: str, version: int) -> Path:
        """Return where a version is, or would be."""
        return self.directory / f"{version}.{role}.json"

    def next_version(self, role: str) -> int:
        """Return the version that the next signing gets."""
        return max(self.versions(role), default=0) + 1

    def latest(self, role: str) -> "Metadata[Any]":
        """Return the newest version of a role. Raises NotFound, Failed."""
        versions = self.versions(role)
        if not versions:
            raise NotFound(f"there is no role '{role}' on this station", hint="make it: appliance publish delegate")
        path = self.path(role, versions[-1])
        try:
            metadata: Metadata[Any] = Metadata.from_file(str(path))
        except Exception as error:  # tuf raises what its parsers raise
            raise Failed(f"{path} cannot be read: {error}", hint="restore it from a copy of the station") from error
        assert isinstance(metadata.signed, _KINDS.get(role, Targets))
        return metadata

    def put(self, role: str, metadata: "Metadata[Any]") -> None:
        """Write a new version, durably."""
        path = self.path(role, metadata.signed.version)
        with disk_errors(f"writing {path}"):
            make_directory(self.directory)
            partial = path.with_suffix(".tmp")
            partial.unlink(missing_ok=True)
            copy_hashed(io.BytesIO(metadata.to_bytes()), partial, mode=0o644)
            assert not path.exists(), "a version is given away once"
            partial.rename(path)
            fsync_directory(self.directory)
