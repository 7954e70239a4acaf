"""Writing a version out as a package directory again, for another box or another server."""

import tempfile
from pathlib import Path

from appliance.durable import copy_hashed, disk_errors, fsync_directory
from appliance.errors import AlreadyExists, Failed, InvalidInput
from appliance.model.identity import digest_of_hex
from appliance.registry.blob_store import BlobStore
from appliance.registry.manifest import Manifest


def export_version(manifest: Manifest, blobs: BlobStore, destination: Path) -> Path:
    """Write `destination/<name>`, whole or not at all. Raises AlreadyExists if it is there."""
    target = destination / manifest.name
    if not destination.is_dir():
        raise InvalidInput(f"{destination} is not a directory", hint="name the directory to put the package into")
    if target.exists() or target.is_symlink():
        raise AlreadyExists(f"{target} is there already", hint="move it away, or name another directory")
    with disk_errors(f"writing {target}"), tempfile.TemporaryDirectory(prefix=".export-", dir=destination) as partial:
        package = Path(partial, manifest.name)
        package.mkdir()
        _write(manifest, blobs, package)
        package.rename(target)
        fsync_directory(destination)
    return target


def _write(manifest: Manifest, blobs: BlobStore, package: Path) -> None:
    directories = {package}
    for relative, file in manifest.files.items():
        path = package / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        directories.update(parent for parent in path.parents if parent.is_relative_to(package))
        with blobs.open(file.digest) as stream:
            found = digest_of_hex(copy_hashed(stream, path, mode=None)[0])
        if found != file.digest:
            raise Failed(f"{relative}: content is {found}, expected {file.digest}", hint="appliance models verify")
    for directory in directories:
        fsync_directory(directory)
