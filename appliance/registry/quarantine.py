"""Content that rotted on this disk: out of the blobs, kept to be looked at, never served again.

Invariant: the file leaves the blobs before anything is written down about it, so a cut leaves content that is plainly
missing, never content that is damaged and passes for whole. A runtime that has it open keeps what it has.
"""

from collections.abc import Collection
from pathlib import Path

from appliance.durable import fsync_directory, hash_file, make_directory
from appliance.model.identity import Digest, digest_hex
from appliance.registry.blob_store import BlobStore


class Quarantine:
    """The `quarantine/` directory of one state directory."""

    def __init__(self, directory: Path, blobs: BlobStore) -> None:
        """`directory` must be on the blobs' file system."""
        self._directory = directory
        self._blobs = blobs

    def path(self, digest: Digest) -> Path:
        """Return where damaged content is, or would be, by the name that it had."""
        return self._directory / digest_hex(digest)

    def take(self, digest: Digest) -> bool:
        """Move a blob away if it is damaged; whether it was. The caller holds the blobs alone."""
        source = self._blobs.path(digest)
        if not source.exists() or _is_sound(source, digest):
            return False
        make_directory(self._directory)
        source.rename(self.path(digest))
        fsync_directory(self._directory)
        self._blobs.sync()
        return True

    def sweep(self, keep: Collection[Digest]) -> None:
        """Delete what nobody needs any more, or what is whole again among the blobs."""
        if not self._directory.is_dir():
            return
        kept = {digest_hex(digest) for digest in keep if not self._blobs.path(digest).exists()}
        for path in list(self._directory.iterdir()):
            if path.name not in kept:
                path.unlink()
        fsync_directory(self._directory)


def _is_sound(path: Path, digest: Digest) -> bool:
    try:
        return hash_file(path) == digest_hex(digest)
    except OSError:  # it cannot even be read
        return False
