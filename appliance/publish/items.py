"""What a station can put into bundles: models by publishers, settings by sites."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from tuf.api.metadata import Targets

from appliance.bundle.layout import (
    LARGEST_PART_BYTES,
    MOST_DELEGATIONS,
    config_paths,
    config_role,
    config_target,
    model_target,
    models_paths,
    models_role,
)
from appliance.bundle.model_item import ModelItem
from appliance.bundle.oci_layers import ItemFile
from appliance.errors import AlreadyExists, InvalidInput
from appliance.model.identity import ModelName, ModelVersion
from appliance.publish.ceremony import delegate
from appliance.publish.part_writer import write_parts
from appliance.publish.signed_targets import add_target
from appliance.publish.station import Station
from appliance.registry.manifest import Manifest, ManifestFile
from appliance.registry.package import Package, read_package
from appliance.settings import check_site_settings

Progress = Callable[[str, int, int], None]


def add_publisher(station: Station, publisher: str) -> str:
    """Let a publisher sign models. Returns the role. Raises AlreadyExists."""
    return _add_role(station, models_role(publisher), models_paths(publisher))


def add_site(station: Station, site: str) -> str:
    """Let a site's administrator sign its configuration. Returns the role. Raises AlreadyExists."""
    return _add_role(station, config_role(site), config_paths(site))


def add_model(
    station: Station, directory: Path, publisher: str, progress: Progress, part_bytes: int = LARGEST_PART_BYTES
) -> list[str]:
    """Sign every version of a package. Returns the targets. Raises InvalidInput, AlreadyExists, NotFound."""
    role = models_role(publisher)
    targets: Targets = station.store.latest(role).signed
    package = read_package(directory)
    _require_name_for_sticks(package.name, targets)
    station.signing.unlock(role)
    files = _stored(station, package, progress, part_bytes)
    added = []
    for version in package.versions:
        item = _item(package, version, files)
        path = model_target(publisher, item.name, item.version)
        signed = targets.targets.get(path)
        if signed is not None and signed.hashes.get("sha256") != hashlib.sha256(item.to_bytes()).hexdigest():
            raise AlreadyExists(
                f"'{item.name}' version {item.version} was signed with other content",
                hint="a version never changes: give the new content a new version number",
            )
        add_target(station, targets, path, item.to_bytes())
        _store_manifest(station, item)
        added.append(path)
    station.signing.sign(role, targets)
    return added


def add_config(station: Station, site: str, name: str, data: bytes) -> str:
    """Sign settings for a site. Returns the target. Raises InvalidInput, NotFound."""
    path = config_target(site, name)
    check_site_settings(data, path)
    role = config_role(site)
    targets: Targets = station.store.latest(role).signed
    add_target(station, targets, path, data)
    station.signing.sign(role, targets)
    return path


def _add_role(station: Station, role: str, paths: str) -> str:
    if station.store.versions(role):
        raise AlreadyExists(f"the role '{role}' is there already", hint="appliance publish key add")
    targets: Targets = station.store.latest("targets").signed
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    if role not in targets.delegations.roles:  # or it was killed between the two
        if len(targets.delegations.roles) >= MOST_DELEGATIONS:
            raise InvalidInput(f"there are {MOST_DELEGATIONS} roles, the most that a box accepts")
        delegate(station, targets, role, [paths])
        station.signing.sign("targets", targets)
    station.signing.sign(role, Targets())
    return role


def _require_name_for_sticks(name: ModelName, targets: Targets) -> None:
    """Refuse what FAT, the file system of most sticks, cannot tell apart or keep."""
    if name.endswith("."):
        raise InvalidInput(f"'{name}' ends with a dot, which a stick does not keep", hint="rename the model")
    for path in targets.targets:
        other = path.split("/")[2]
        if other != name and other.casefold() == name.casefold():
            raise InvalidInput(f"'{name}' and '{other}' are one name on a stick", hint="rename the model")


def _stored(station: Station, package: Package, progress: Progress, part_bytes: int) -> dict[str, ItemFile]:
    """Copy every file of a package into the station's blobs, in parts; each is read once."""
    files = {path: file for version in package.versions.values() for path, file in version.files.items()}
    total = sum(file.size_bytes for file in files.values())
    done = 0
    stored = {}
    for path, file in files.items():

        def advance(more: int, path: str = path) -> None:
            nonlocal done
            done += more
            progress(f"copying {path}", done, total)

        stored[path] = write_parts(file.path, station.blobs, station.staging, part_bytes, advance)
    return stored


def _item(package: Package, version: ModelVersion, files: Mapping[str, ItemFile]) -> ModelItem:
    own = {path: files[path] for path in package.versions[version].files}
    manifest = Manifest(
        name=package.name,
        version=version,
        config_file=package.config_file,
        model_file=package.versions[version].model_file,
        licence=package.licence,
        files={path: ManifestFile(file.digest, file.size_bytes) for path, file in own.items()},
    )
    return ModelItem(
        name=package.name,
        version=version,
        config_file=package.config_file,
        model_file=manifest.model_file,
        licence=package.licence,
        manifest=manifest.digest(),
        files=own,
    )


def _store_manifest(station: Station, item: ModelItem) -> None:
    """Keep the OCI manifest and its config as blobs too: that is where oras and skopeo look."""
    for data in (item.to_bytes(), item.config_bytes()):
        station.blobs.put(data)
