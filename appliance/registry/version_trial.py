"""How a version is tried wherever its files come from: laid out as they will be served, read as a package, loaded.

`Addition` (from a directory), `arrival` (from a signed bundle) and `rebuild` (from the blobs alone) share it.
"""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from appliance.errors import AlreadyExists, InvalidInput
from appliance.model.config import ModelConfig
from appliance.model.identity import ModelName, ModelVersion
from appliance.model.signature import ModelSignature
from appliance.registry.manifest import Manifest, ManifestFile
from appliance.registry.package import Package, read_package
from appliance.registry.queries import find_version, get_digests
from appliance.registry.records import RegisteredVersion

Check = Callable[[Path, ModelConfig], ModelSignature]  # loads a model file once; may raise InvalidInput


def read_version(
    view: Path, name: ModelName, version: ModelVersion, files: Mapping[str, ManifestFile]
) -> tuple[Package, Manifest]:
    """Read one version that lies in `view`; `files` are the digests of what lies there.

    Raises InvalidInput if it is no package, or not one of this version alone.
    """
    package = read_package(view, name)
    if list(package.versions) != [version]:
        found = ", ".join(map(str, package.versions))
        raise InvalidInput(f"the files of '{name}' version {version} are a package of versions {found}")
    manifest = Manifest(
        name=name,
        version=version,
        config_file=package.config_file,
        model_file=package.versions[version].model_file,
        licence=package.licence,
        files=dict(files),
    )
    return package, manifest


def require_same(found: Manifest, expected: Manifest) -> None:
    """Refuse files that are not the version that their manifest describes. Raises InvalidInput."""
    if found.digest() != expected.digest():
        raise InvalidInput(
            f"the files of '{expected.name}' version {expected.version} are not what its manifest says: "
            f"found {found.digest()}, expected {expected.digest()}"
        )


def tried_version(package: Package, manifest: Manifest, view: Path, check: Check, now: float) -> RegisteredVersion:
    """Load the model once and make the row of the version. Raises InvalidInput."""
    signature = check(view / manifest.model_file, package.config)
    return RegisteredVersion(
        name=manifest.name,
        version=manifest.version,
        digest=manifest.digest(),
        manifest=manifest,
        config_text=package.config_text,
        provenance=package.provenance,
        signature=signature,
        added_at=now,
        last_load=None,
    )


def find_same(connection: sqlite3.Connection, manifest: Manifest) -> RegisteredVersion | None:
    """Return the version if it is there with this content. Raises AlreadyExists if with other content."""
    known = find_version(connection, manifest.name, manifest.version)
    if known is not None and known.digest != manifest.digest():
        unused = max(get_digests(connection)[manifest.name]) + 1
        raise AlreadyExists(
            f"'{manifest.name}' version {manifest.version} is in the registry with other content: "
            f"found {manifest.digest()}, expected {known.digest}",
            hint=f"a version never changes: give the new content a new version number, such as {unused}",
        )
    return known
